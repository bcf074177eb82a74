/* Who we are, what we may use, what we hold. See capabilities(7), credentials(7), getrlimit(2), close_range(2). */
#define _GNU_SOURCE
#include "jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool kept(const struct jail *jail, int capability)
{
	return jail->capabilities >> capability & 1;
}

static void set_capabilities(const struct jail *jail)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	int half, capability;

	for (half = 0; half < 2; half++) {
		uint32_t bits = (uint32_t)(jail->capabilities >> (half * 32));
		data[half] = (struct __user_cap_data_struct){bits, bits, bits};
	}
	if (syscall(SYS_capset, &head, data) < 0)
		fail("set", "capabilities");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		fail("clear", "ambient capabilities");
	for (capability = 0; capability < 64; capability++)
		if (kept(jail, capability) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
			fail("keep", "a capability");
}

/* Without any capability in the bounding set nothing that is executed gains one. EINVAL: the kernel has no more of them. */
static void bound_capabilities(const struct jail *jail)
{
	int capability;

	for (capability = 0; capability < 64; capability++) {
		if (kept(jail, capability) || prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break;
		if (errno != EPERM) /* an ordinary user without a namespace of their own has none to drop */
			fail("bound", "capabilities");
	}
}

void become(const struct jail *jail)
{
	bound_capabilities(jail);
	if (jail->identity) {
		if (prctl(PR_SET_KEEPCAPS, jail->capabilities != 0, 0, 0, 0) < 0)
			fail("keep", "capabilities");
		if (setgroups(jail->group_count, jail->groups) < 0)
			fail("set", "groups");
		if (setresgid(jail->gid, jail->gid, jail->gid) < 0)
			fail("become", "the group");
		if (setresuid(jail->uid, jail->uid, jail->uid) < 0)
			fail("become", "the user");
	}
	set_capabilities(jail);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail("set", "no_new_privs");
}

void set_limits(const struct jail *jail)
{
	size_t index;

	for (index = 0; index < jail->limit_count; index++) {
		const struct limit *limit = &jail->limits[index];
		struct rlimit value = {limit->value, limit->value};
		if (setrlimit((__rlimit_resource_t)limit->resource, &value) < 0)
			fail("set", "a limit");
	}
}

void keep_descriptors(const struct jail *jail)
{
	size_t index;

	if (syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) < 0)
		fail("close", "descriptors");
	for (index = 0; index < jail->keep_count; index++)
		if (fcntl(jail->keep[index], F_SETFD, 0) < 0)
			fail("keep", "a descriptor");
}
