/* Make a jail, and become the program in it.
 *
 * With a process namespace the program is its first process: it is made by clone(2) with CLONE_PARENT, so that it is the child of
 * whoever started us, who learns its number from the report, collects its status and kills with it whatever is in the namespace. We
 * are gone then. Without one we become the program ourselves. */
#define _GNU_SOURCE
#include "jail.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A user namespace in which we are who we were, or root, and nobody else is anybody. */
static void map_ourselves(uid_t uid, gid_t gid, bool root)
{
	char line[64];

	write_file("/proc/self/setgroups", "deny");
	snprintf(line, sizeof line, "%u %u 1", root ? 0 : uid, uid);
	write_file("/proc/self/uid_map", line);
	snprintf(line, sizeof line, "%u %u 1", root ? 0 : gid, gid);
	write_file("/proc/self/gid_map", line);
}

/* Another's user namespace, in which we have every capability: it is ours. */
static void join_users(const char *path)
{
	int users = open(path, O_RDONLY | O_CLOEXEC);

	if (users < 0)
		fail("open", path);
	if (setns(users, CLONE_NEWUSER) < 0)
		fail("join", path);
	close(users);
}

static void leave_namespaces(const struct jail *jail)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (jail->join)
		join_users(jail->join);
	if (!jail->namespaces)
		return;
	if (unshare(jail->namespaces) < 0)
		fail("unshare", "namespaces");
	if (jail->namespaces & CLONE_NEWUSER)
		map_ourselves(uid, gid, jail->root_inside);
	if (jail->namespaces & CLONE_NEWUTS && sethostname("jail", 4) < 0)
		fail("set", "the host name");
}

/* Die when the parent does. Changes of who we are undo it, so it comes after them; whether the parent still lived then is looked
 * at by who can: the parent of a namespace's first process has no number there. */
static void tie(const struct jail *jail)
{
	if (jail->parent && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		fail("tie to", "the parent");
}

static _Noreturn void run(struct jail *jail, int tied)
{
	static char *const environment[] = {NULL};

	if (jail->root)
		make_root(jail);
	set_limits(jail);
	become(jail);
	tie(jail);
	if (tied >= 0) {
		char answer;
		if (write(tied, "t", 1) != 1 || read(tied, &answer, 1) != 1)
			refuse("the parent", "is gone");
		close(tied);
	} else if (jail->parent && getppid() != jail->parent)
		refuse("the parent", "is gone");
	if (jail->landlock)
		say("landlock %d\n", restrict_files(jail));
	keep_descriptors(jail);
	if (jail->filter >= 0 && !filter_calls(jail->filter))
		say("seccomp %d\n", 0);
	execve(jail->program[0], jail->program, environment);
	fail("run", jail->program[0]);
}

/* Let the first process of the namespace go on as soon as it is tied, if the parent still lives. */
static int see_tied(const struct jail *jail, int socket)
{
	char word;

	if (read(socket, &word, 1) != 1)
		return 0; /* it has said why */
	if (jail->parent && getppid() != jail->parent)
		return FAILED; /* by closing the socket we tell it */
	return write(socket, "g", 1) == 1 ? 0 : FAILED;
}

int main(int count, char **words)
{
	struct jail jail;
	char line[16];
	int ends[2];
	long pid;

	if (count == 1)
		return 0; /* a program to try a jail with */
	parse(&jail, count, words);
	if (fcntl(jail.report, F_SETFD, FD_CLOEXEC) < 0)
		refuse("no", "report");
	if (jail.oom >= 0) {
		snprintf(line, sizeof line, "%d", jail.oom);
		write_file("/proc/self/oom_score_adj", line);
	}
	leave_namespaces(&jail);
	if (jail.tap >= 0)
		make_tap(jail.tap);
	if (!(jail.namespaces & CLONE_NEWPID)) {
		say("pid %d\n", getpid());
		run(&jail, -1);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		fail("make", "a socket");
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		fail("start", "the first process");
	if (pid == 0) {
		close(ends[0]);
		setsid();
		run(&jail, ends[1]);
	}
	say("pid %ld\n", pid);
	close(ends[1]);
	return see_tied(&jail, ends[0]);
}
