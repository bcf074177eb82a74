/* The root of a jail: a tmpfs with what was asked for bound into it, everything read-only. See mount_namespaces(7), mount_setattr(2). */
#define _GNU_SOURCE
#include "jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MS_BIND
#define MS_RDONLY 1
#define MS_NOSUID 2
#define MS_NODEV 4
#define MS_NOEXEC 8
#define MS_BIND 4096
#define MS_REC 16384
#define MS_PRIVATE (1 << 18)
#endif

#define PLAIN (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

static bool shared(const struct item *item)
{
	return item->kind == SHARE || item->kind == SHARE_READ;
}

/* An O_PATH descriptor of what no symbolic link leads to: it was resolved, and judged, before. */
static int open_resolved(const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

/* Open what is shown before the new root can lie on top of it; in this mount namespace, since no other's can be bound. */
static void open_items(struct jail *jail)
{
	size_t index;

	for (index = 0; index < jail->item_count; index++) {
		struct item *item = &jail->items[index];
		if (item->kind != SHOW && item->kind != DEVICE && !shared(item))
			continue;
		item->opened = shared(item) ? open_resolved(item->source) : open(item->source, O_PATH | O_CLOEXEC);
		if (item->opened < 0)
			fail("open", item->source);
	}
}

/* Make the folders above a relative path. */
static void make_above(const char *path)
{
	char above[4096];
	char *slash;

	if (strlen(path) >= sizeof above)
		refuse("too long:", path);
	strcpy(above, path);
	for (slash = strchr(above, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(above, 0755) < 0 && errno != EEXIST)
			fail("make folder", path);
		*slash = '/';
	}
}

static void restrict_mount(const char *target, uint64_t attributes)
{
	struct mount_attr attr = {.attr_set = attributes};

	if (syscall(SYS_mount_setattr, AT_FDCWD, target, AT_RECURSIVE, &attr, sizeof attr) < 0)
		fail("restrict", target);
}

static void bind_item(const struct item *item, const char *target)
{
	char source[32];
	struct stat status;
	int file;

	if (fstat(item->opened, &status) < 0)
		fail("look at", item->source);
	if (S_ISDIR(status.st_mode)) {
		if (mkdir(target, 0755) < 0 && errno != EEXIST)
			fail("make folder", target);
	} else {
		file = open(target, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0444);
		if (file < 0)
			fail("make", target);
		close(file);
	}
	snprintf(source, sizeof source, "/proc/self/fd/%d", item->opened);
	if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		fail("show", item->source);
	if (item->kind == DEVICE)
		restrict_mount(target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	else if (item->kind == SHARE)
		restrict_mount(target, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	else
		restrict_mount(target, PLAIN);
	close(item->opened);
}

/* Nothing, over a folder that is shared, wherever on the host it is. */
static void cover(const char *target)
{
	char place[32];
	int folder = open_resolved(target);

	if (folder < 0)
		fail("open", target);
	snprintf(place, sizeof place, "/proc/self/fd/%d", folder);
	if (mount("hidden", place, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "mode=0,size=4k") < 0)
		fail("cover", target);
	close(folder);
}

static void put(const struct item *item)
{
	const char *target = item->target + 1; /* we are in the new root */

	if (item->kind == COVER) {
		cover(target);
		return;
	}
	make_above(target);
	switch (item->kind) {
	case FOLDER:
		if (mkdir(target, 0755) < 0 && errno != EEXIST)
			fail("make folder", target);
		break;
	case LINK:
		if (symlink(item->source, target) < 0)
			fail("link", target);
		break;
	default:
		bind_item(item, target);
	}
}

void make_root(struct jail *jail)
{
	struct mount_attr attr = {.attr_set = PLAIN | MOUNT_ATTR_NOEXEC};
	size_t index;

	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("make private", "/");
	open_items(jail);
	if (mount("jail", jail->root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k,nr_inodes=2048") < 0)
		fail("mount on", jail->root);
	if (chdir(jail->root) < 0)
		fail("enter", jail->root);
	umask(022);
	for (index = 0; index < jail->item_count; index++)
		put(&jail->items[index]);
	if (jail->proc && mount("proc", jail->proc + 1, "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid") < 0)
		fail("mount", jail->proc);
	if (syscall(SYS_mount_setattr, AT_FDCWD, ".", 0, &attr, sizeof attr) < 0)
		fail("restrict", "the root");
	/* the old root comes to lie on the new one, and is taken off: pivot_root(2), "pivot_root(".", ".")" */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		fail("change", "the root");
	if (umount2(".", MNT_DETACH) < 0)
		fail("leave", "the old root");
	if (chdir("/") < 0)
		fail("enter", "the root");
}
