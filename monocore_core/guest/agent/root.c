/* The sandbox's root: image, overlay, kernel file systems, pivot. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOWER "/run/lower"
#define UPPER "/run/upper"
#define ROOT "/run/root"
#define SHARES "/run/shares"
#define KERNEL "/run/kernel"
#define BOOT "boot" /* the serial of the disk that the kernel boots from */
#define ALL_SHARES "monocore.shares" /* the tag of the device that serves every share, where there is one */

static const int64_t DISK_WAIT = 10LL * 1000000000;

#ifdef __GLIBC__
typedef unsigned long ioctl_request;
#else
typedef int ioctl_request; /* as POSIX has it */
#endif

static int upper_fd = -1, changes_fd = -1;
static struct {
    int upper, kernel; /* an errno each */
} prepared;

int root_changes(void) { return changes_fd; }

void root_finish(void)
{
    sync();
    if (upper_fd >= 0) /* out of reach for umount after the pivot; a frozen file system is as clean */
        ioctl(upper_fd, (ioctl_request)FIFREEZE, 0);
}

static int open_in(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

int open_folder(int root, const char *path, mode_t mode)
{
    char part[1100];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int folder = open_in(root, "/", O_PATH | O_DIRECTORY);
    /* Every prefix is resolved anew from the root, so that links in the image lead where they would inside. */
    for (char *p = part; folder >= 0 && *p;) {
        p += strspn(p, "/");
        if (!*p)
            break;
        char *name = p;
        p += strcspn(p, "/");
        char kept = *p;
        *p = 0;
        int next = open_in(root, part, O_PATH | O_DIRECTORY);
        if (next < 0 && errno == ENOENT && mkdirat(folder, name, mode) == 0)
            next = open_in(root, part, O_PATH | O_DIRECTORY);
        int err = errno;
        *p = kept;
        close(folder);
        folder = next;
        errno = err;
    }
    return folder;
}

static int mount_at(int root, const char *what, const char *target, const char *type, unsigned long flags, const char *data)
{
    char path[64];
    int fd = open_folder(root, target, 0755);
    if (fd < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int result = mount(what, path, type, flags, data), err = errno;
    close(fd);
    errno = err;
    return result;
}

/* ---- disks ---- */

/* What the kernel says of a disk, in a word. */
static bool disk_word(const char *disk, const char *what, char *text, size_t size)
{
    char file[320];
    snprintf(file, sizeof file, "/sys/block/%s/%s", disk, what);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    return true;
}

static bool try_disk(const char *serial, char *path, size_t size)
{
    DIR *folder = opendir("/sys/block");
    struct dirent *entry;
    bool found = false;
    while (folder && !found && (entry = readdir(folder))) {
        char text[64];
        found = disk_word(entry->d_name, "serial", text, sizeof text) && !strcmp(text, serial);
        if (found) {
            snprintf(path, size, "/dev/%s", entry->d_name);
            found = access(path, F_OK) == 0;
        }
    }
    if (folder)
        closedir(folder);
    return found;
}

/* Where disks have no serials the kernel's command line names them, in order, after the one that we booted from. */
static bool listed_disk(const char *name, char *path, size_t size)
{
    char names[1024];
    char letter = 'b';
    if (!kernel_word("monocore.disks", names, sizeof names))
        return false;
    for (char *one = strtok(names, ","); one && letter <= 'z'; one = strtok(NULL, ","), letter++)
        if (!strcmp(one, name)) {
            snprintf(path, size, "/dev/vd%c", letter);
            return access(path, F_OK) == 0;
        }
    return false;
}

static int find_disk(const char *serial, char *path, size_t size, struct fault *f)
{
    int64_t deadline = now_ns() + DISK_WAIT;
    if (listed_disk(serial, path, size) || try_disk(serial, path, size))
        return 0;
    int events = uevent_open();
    bool found = false;
    while (!(found = try_disk(serial, path, size)) && uevent_wait(events, deadline)) {
    }
    if (events >= 0)
        close(events);
    return found ? 0 : fail(f, F_SYSTEM, 0, "the guest has no disk with the serial '%s'", serial);
}

/* ---- shares ---- */

static int bind_at(const char *what, const char *where, bool readonly)
{
    if (mount(what, where, NULL, MS_BIND | MS_REC, NULL) < 0)
        return -1;
    return readonly ? mount(NULL, where, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) : 0;
}

/* Where a VMM has few devices to give, one serves every share, each as the folder of its tag. */
static bool all_shares(void)
{
    static int found = -1;
    if (found < 0)
        found = (mkdir(SHARES, 0700) == 0 || errno == EEXIST) && mount(ALL_SHARES, SHARES, "virtiofs", 0, NULL) == 0;
    return found;
}

static int share_at(const char *tag, const char *where, bool readonly)
{
    char path[128];
    if (!all_shares())
        return mount(tag, where, "virtiofs", readonly ? MS_RDONLY : 0, NULL);
    snprintf(path, sizeof path, SHARES "/%s", tag);
    return bind_at(path, where, readonly);
}

static int open_mount_point(int root, const char *target)
{
    char folder[1100];
    int fd = open_in(root, target, O_PATH);
    if (fd >= 0 || errno != ENOENT || snprintf(folder, sizeof folder, "%s", target) >= (int)sizeof folder)
        return fd;
    char *name = strrchr(folder, '/');
    *name++ = 0;
    int parent = open_folder(root, folder, 0755);
    if (parent < 0)
        return -1;
    fd = openat(parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0644);
    int err = errno;
    close(parent);
    errno = err;
    return fd;
}

/* Mounted aside first: what a descriptor names is below what is mounted on it, and could not be made read-only after.
 * A file is served as "file" in a folder of its own, since shares are folders. */
static int mount_share(int root, const struct mount_entry *m, size_t number)
{
    char aside[64], file[80], path[64];
    snprintf(aside, sizeof aside, "/run/share%zu", number);
    snprintf(file, sizeof file, "%s/file", aside);
    mkdir(aside, 0700);
    if (share_at(m->tag, aside, m->readonly) < 0)
        return -1;
    int fd = m->file ? open_mount_point(root, m->target) : open_folder(root, m->target, 0755);
    if (fd < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int result = mount(m->file ? file : aside, path, NULL, MS_BIND | MS_REC, NULL), err = errno;
    close(fd);
    errno = err;
    return result;
}

static int mount_image(const struct setup *s, const char *target, struct fault *f)
{
    char path[300];
    if (s->share_root) {
        if (share_at(s->root_name, target, s->upper || !s->share_writable) < 0)
            return fail(f, F_SYSTEM, errno, "cannot mount the share '%s'", s->root_name);
        return 0;
    }
    if (find_disk(s->root_name, path, sizeof path, f) < 0)
        return -1;
    if (mount(path, target, s->root_filesystem, MS_RDONLY, NULL) < 0)
        return fail(f, F_SYSTEM, errno, "cannot mount the disk '%s' as %s", s->root_name, s->root_filesystem);
    return 0;
}

static int mount_upper(const struct setup *s, struct fault *f)
{
    char path[300], options[64];
    if (s->upper == 1) {
        snprintf(options, sizeof options, "size=%lld", (long long)s->upper_size);
        if (prepared.upper || (s->upper_size > 0 && mount(NULL, UPPER, NULL, MS_REMOUNT, options) < 0))
            return fail(f, F_SYSTEM, prepared.upper ? prepared.upper : errno, "cannot mount memory for writing");
        return 0;
    }
    if (find_disk(s->upper_name, path, sizeof path, f) < 0)
        return -1;
    if (mount(path, UPPER, "ext4", MS_NOATIME, NULL) < 0)
        return fail(f, F_SYSTEM, errno, "cannot mount the disk '%s' for writing", s->upper_name);
    upper_fd = open(UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

static int mount_overlay(const struct setup *s, struct fault *f)
{
    struct stat st;
    if (mount_image(s, LOWER, f) < 0 || mount_upper(s, f) < 0)
        return -1;
    mkdir(UPPER "/work", 0700);
    if (mkdir(UPPER "/upper", 0755) == 0 && stat(LOWER, &st) == 0) { /* the root folder's looks come from above */
        (void)!chown(UPPER "/upper", st.st_uid, st.st_gid);
        chmod(UPPER "/upper", st.st_mode & 07777);
    }
    if (mount("overlay", ROOT, "overlay", 0, "lowerdir=" LOWER ",upperdir=" UPPER "/upper,workdir=" UPPER "/work") < 0)
        return fail(f, F_SYSTEM, errno, "cannot overlay the image with a writable layer");
    changes_fd = open(UPPER "/upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

/* ---- kernel file systems ---- */

static void make_device_links(void)
{
    static const char *const links[][2] = {
        {"/proc/self/fd", KERNEL "/dev/fd"},
        {"/proc/self/fd/0", KERNEL "/dev/stdin"},
        {"/proc/self/fd/1", KERNEL "/dev/stdout"},
        {"/proc/self/fd/2", KERNEL "/dev/stderr"},
    };
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        (void)!symlink(links[i][0], links[i][1]);
}

/* Mount what the kernel offers, aside; an errno when what no root can do without is missing. */
static int prepare_kernel(void)
{
    static const struct {
        const char *target, *type;
        unsigned long flags;
        const char *data;
        bool needed;
    } mounts[] = {
        {KERNEL "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true},
        {KERNEL "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true},
        {KERNEL "/dev", "devtmpfs", MS_NOSUID, "mode=755", true},
        {KERNEL "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5", true},
        {KERNEL "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", false},
        {KERNEL "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
        {KERNEL "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
    };
    for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
        mkdir(mounts[i].target, 0755);
        if (mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].data) < 0 && mounts[i].needed)
            return errno;
    }
    make_device_links();
    return 0;
}

/* Done before the host says what this guest is to be, since it is the same for all: a copy of a template finds it done. */
void root_prepare(void)
{
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    mkdir(LOWER, 0755);
    mkdir(UPPER, 0755);
    mkdir(ROOT, 0755);
    mkdir(KERNEL, 0755);
    prepared.upper = mount("upper", UPPER, "tmpfs", 0, "mode=755") < 0 ? errno : 0;
    prepared.kernel = prepare_kernel();
}

static int move_at(int root, const char *name, struct fault *f)
{
    char from[64], path[64];
    snprintf(from, sizeof from, KERNEL "%s", name);
    int fd = open_folder(root, name, 0755);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int result = fd < 0 ? -1 : mount(from, path, NULL, MS_MOVE, NULL), err = errno;
    if (fd >= 0)
        close(fd);
    return result < 0 ? fail(f, F_SYSTEM, err, "cannot mount %s", name) : 0;
}

static int mount_kernel(int root, struct fault *f)
{
    if (prepared.kernel)
        return fail(f, F_SYSTEM, prepared.kernel, "cannot mount what the kernel offers");
    return move_at(root, "/proc", f) < 0 || move_at(root, "/sys", f) < 0 || move_at(root, "/dev", f) < 0 ? -1 : 0;
}

static int mount_extra(int root, const struct mount_entry *m, size_t number, struct fault *f)
{
    char options[64] = "mode=1777";
    int result;
    if (m->share) {
        result = mount_share(root, m, number);
    } else {
        if (m->size > 0)
            snprintf(options, sizeof options, "mode=1777,size=%lld", (long long)m->size);
        result = mount_at(root, "tmpfs", m->target, "tmpfs", MS_NOSUID | MS_NODEV, options);
    }
    return result < 0 ? fail(f, F_SYSTEM, errno, "cannot mount on '%.200s'", m->target) : 0;
}

static int pivot(struct fault *f)
{
    if (chdir(ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return fail(f, F_SYSTEM, errno, "cannot enter the sandbox's root");
    return 0;
}

int root_mount(const struct setup *s, struct fault *f)
{
    if ((s->upper ? mount_overlay(s, f) : mount_image(s, ROOT, f)) < 0)
        return -1;
    int root = open(ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return fail(f, F_SYSTEM, errno, "cannot open the sandbox's root");
    int result = mount_kernel(root, f);
    for (size_t i = 0; result == 0 && i < s->mount_count; i++)
        result = mount_extra(root, &s->mounts[i], i, f);
    close(root);
    return result < 0 ? -1 : pivot(f);
}

/* A spare's read-only disk holds what the boot disk does: mounting that one again would find it mounted, and read nothing. */
static bool rehearsal_disk(char *serial, size_t size)
{
    DIR *folder = opendir("/sys/block");
    struct dirent *entry;
    bool found = false;
    while (folder && !found && (entry = readdir(folder)))
        found = disk_word(entry->d_name, "ro", serial, size) && !strcmp(serial, "1") &&
                disk_word(entry->d_name, "serial", serial, size) && strcmp(serial, BOOT);
    if (folder)
        closedir(folder);
    return found;
}

int root_rehearse(struct fault *f)
{
    static struct setup s = {.root_filesystem = "erofs", .upper = 1};
    struct fault unread = {.code = 0};
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("upper", UPPER, "tmpfs", 0, "mode=755") < 0)
        return fail(f, F_SYSTEM, errno, "cannot mount memory for a rehearsal");
    if (rehearsal_disk(s.root_name, sizeof s.root_name) && root_mount(&s, &unread) == 0)
        return 0;
    snprintf(s.root_name, sizeof s.root_name, BOOT);
    return root_mount(&s, f);
}
