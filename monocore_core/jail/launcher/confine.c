/* What is left to the program: no file but those that are shown, no system call but those on the list. See landlock(7), seccomp(2). */
#define _GNU_SOURCE
#include "jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* linux/landlock.h of a current kernel: compilers' headers are older than kernels. */
#define EXECUTE (1ULL << 0)
#define WRITE_FILE (1ULL << 1)
#define READ_FILE (1ULL << 2)
#define READ_DIR (1ULL << 3)
#define IOCTL_DEV (1ULL << 15)
#define MAKE_DEVICES (1ULL << 6 | 1ULL << 11)
#define FILES_1 ((1ULL << 13) - 1) /* everything of the first version */
#define REFER (1ULL << 13)
#define TRUNCATE (1ULL << 14)
#define TCP 3ULL
#define SCOPES 3ULL /* abstract Unix sockets, signals */

struct ruleset {
	uint64_t files, network, scopes;
};

struct __attribute__((packed)) below {
	uint64_t allowed;
	int32_t parent;
};

static void allow(int ruleset, const char *path, uint64_t what)
{
	struct below rule = {what, open(path, O_PATH | O_CLOEXEC)};
	struct stat status;

	if (rule.parent < 0 || fstat(rule.parent, &status) < 0)
		fail("open", path);
	if (!S_ISDIR(status.st_mode))
		rule.allowed &= EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV;
	if (syscall(SYS_landlock_add_rule, ruleset, 1, &rule, 0) < 0)
		fail("allow", path);
	close(rule.parent);
}

/* Whether somebody writes to folders of the host. */
static bool shares(const struct jail *jail)
{
	size_t index;

	for (index = 0; index < jail->item_count; index++)
		if (jail->items[index].kind == SHARE)
			return true;
	return false;
}

static void allow_item(int ruleset, const struct item *item, uint64_t known)
{
	if (item->kind == SHARE)
		allow(ruleset, item->target, known & ~(MAKE_DEVICES | IOCTL_DEV));
	else if (item->kind == SHOW || item->kind == SHARE_READ)
		allow(ruleset, item->target, EXECUTE | READ_FILE | READ_DIR);
	else if (item->kind == DEVICE)
		allow(ruleset, item->target, (READ_FILE | WRITE_FILE | IOCTL_DEV) & known);
}

int restrict_files(const struct jail *jail)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
	struct ruleset asked = {.files = FILES_1};
	size_t size = sizeof asked.files;
	size_t index;
	int ruleset;

	if (version < 1 || (version < 2 && shares(jail)))
		return 0; /* not in this kernel, or switched off; the first version allows no rename from folder to folder */
	if (version >= 2)
		asked.files |= REFER;
	if (version >= 3)
		asked.files |= TRUNCATE;
	if (version >= 4) {
		asked.network = jail->connects ? 0 : TCP;
		size += sizeof asked.network;
	}
	if (version >= 5)
		asked.files |= IOCTL_DEV;
	if (version >= 6) {
		asked.scopes = SCOPES;
		size += sizeof asked.scopes;
	}
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &asked, size, 0);
	if (ruleset < 0)
		fail("make", "a Landlock ruleset");
	/* a root of its own has nothing else; where it is the host's, what is shown is all that there is */
	if (jail->root)
		allow(ruleset, "/", EXECUTE | READ_FILE | READ_DIR);
	for (index = 0; index < jail->item_count; index++)
		allow_item(ruleset, &jail->items[index], asked.files);
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		fail("enter", "the Landlock ruleset");
	close(ruleset);
	return (int)version;
}

bool filter_calls(int descriptor)
{
	static struct sock_filter steps[BPF_MAXINSNS];
	ssize_t size = pread(descriptor, steps, sizeof steps, 0);
	struct sock_fprog program = {.filter = steps};

	if (size <= 0 || (size_t)size % sizeof *steps)
		refuse("not a seccomp program:", "its size");
	program.len = (unsigned short)((size_t)size / sizeof *steps);
	/* LOG: whoever reads the host's audit log learns which call it was */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &program) == 0)
		return true;
	if (errno != ENOSYS && errno != EINVAL)
		fail("set", "the seccomp filter");
	return false; /* not in this kernel, or not for us */
}
