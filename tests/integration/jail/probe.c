/* Plays code that has taken a VMM's process over: one attempt a run, since the jail kills for many of them.
 *
 * probe ATTEMPT [PATH|NUMBER]: says "SUCCEEDED" or why not on standard error. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static const char *word;

static long try_open(int flags) { return open(word, flags, 0600); }
static long read_file(void)
{
	char byte;
	int file = open(word, O_RDONLY);
	return file < 0 ? file : read(file, &byte, 1) == 1 ? 0 : -1;
}
static long list_folder(void) { return open(word, O_RDONLY | O_DIRECTORY); }
static long write_file(void) { return try_open(O_WRONLY); }
static long create_file(void) { return try_open(O_WRONLY | O_CREAT); }
static long remove_file(void) { return unlink(word); }
static long rename_file(void) { return rename(word, "/renamed"); }
static long change_mode(void) { return chmod(word, 0777); }
static long open_device(void) { return try_open(O_RDWR); }
static long make_device(void) { return mknod("/tmp-device", S_IFCHR | 0600, makedev(1, 1)); }
static long make_device_in(void) { return mknod(word, S_IFCHR | 0600, makedev(1, 1)); }
static long open_handle(void)
{
	struct { struct file_handle head; unsigned char room[128]; } handle;
	int mount;
	handle.head.handle_bytes = sizeof handle.room;
	if (name_to_handle_at(AT_FDCWD, "/", &handle.head, &mount, 0) < 0)
		return -1;
	return open_by_handle_at(open("/", O_RDONLY), &handle.head, O_RDONLY);
}
static long signal_process(void) { return kill(atoi(word), 0); }
static long pidfd_process(void) { return syscall(SYS_pidfd_open, atoi(word), 0); }
static long trace_process(void) { return ptrace(PTRACE_SEIZE, atoi(word), 0, 0); }
static long read_memory(void)
{
	char byte;
	struct iovec ours = {&byte, 1}, theirs = {(void *)(uintptr_t)strtoull(strchr(word, ':') + 1, NULL, 0), 1};
	return process_vm_readv(atoi(word), &ours, 1, &theirs, 1, 0);
}
static long priority_of(void) { return setpriority(PRIO_PROCESS, (id_t)atoi(word), 19); }
static long connect_unix(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(word));
	int one = socket(AF_UNIX, SOCK_STREAM, 0);
	if (one < 0)
		return one;
	memcpy(address.sun_path, word, strlen(word));
	if (word[0] == '@')
		address.sun_path[0] = 0;
	return connect(one, (struct sockaddr *)&address, size);
}
static long connect_tcp(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	char host[64];
	int one = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (one < 0)
		return one;
	strncpy(host, word, sizeof host - 1);
	host[63] = 0;
	*strchr(host, ':') = 0;
	address.sin_addr.s_addr = inet_addr(host);
	address.sin_port = htons((uint16_t)atoi(strchr(word, ':') + 1));
	if (connect(one, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
		return -1;
	return 0;
}
static long send_udp(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int one = socket(AF_INET, SOCK_DGRAM, 0);
	return one < 0 ? one : sendto(one, "x", 1, 0, (struct sockaddr *)&address, sizeof address);
}
static long packet_socket(void) { return socket(AF_PACKET, SOCK_RAW, 0); }
static long vsock_socket(void) { return socket(AF_VSOCK, SOCK_STREAM, 0); }
static long links_of_host(void)
{
	/* a socket alone is nothing: more links than loopback would be */
	char name[32];
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	int one = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (one < 0 || bind(one, (struct sockaddr *)&address, sizeof address) < 0)
		return -1;
	struct { int index; } second = {2};
	struct { char name[16]; int value; char rest[20]; } request = {.value = second.index};
	memset(name, 0, sizeof name);
	return ioctl(one, 0x8910 /* SIOCGIFNAME */, &request);
}
static long mount_tmpfs(void) { return mount("x", "/", "tmpfs", 0, NULL); }
static long remount_root(void) { return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL); }
static long unmount_root(void) { return umount2("/", MNT_DETACH); }
static long change_root(void) { return chroot("/"); }
static long new_namespace(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNS); }
static long join_namespace(void)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/mnt", atoi(word));
	return setns(open(path, O_RDONLY), 0);
}
static long become_root(void) { return getuid() && setresuid(0, 0, 0) == 0 ? 0 : getuid() == 0 ? 0 : -1; }
static long become_group(void) { return getgid() == 0 ? 0 : setresgid(0, 0, 0); }
static long set_groups(void) { gid_t groups[] = {0}; return syscall(SYS_setgroups, 1, groups); }
static long gain_capabilities(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{~0U, ~0U, ~0U}, {0x1ff, 0x1ff, 0x1ff}};
	return syscall(SYS_capset, &head, data);
}
static long bounding_set(void)
{
	int number;
	for (number = 0; number < 64; number++)
		if (prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1)
			return 0;
	errno = EPERM;
	return -1;
}
static long new_privileges(void)
{
	errno = EPERM;
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -1 : 0;
}
static long start_process(void)
{
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	return child;
}
static long execute_shell(void)
{
	char *arguments[] = {(char *)(uintptr_t)word, NULL};
	return execve(word, arguments, environ);
}
static long kernel_log(void) { char text[16]; return syscall(SYS_syslog, 3, text, sizeof text); }
static long load_program(void)
{
	uint32_t map[12] = {2 /* an array */, 4, 4, 1};
	return syscall(SYS_bpf, 0 /* make a map */, map, sizeof map);
}
static long count_events(void) { char attr[128] = {0}; attr[4] = 112; return syscall(SYS_perf_event_open, attr, 0, -1, -1, 0); }
static long use_ring(void) { char params[256] = {0}; return syscall(SYS_io_uring_setup, 4, params); }
static long fault_memory(void) { return syscall(SYS_userfaultfd, 0); }
static long use_keys(void) { return syscall(SYS_add_key, "user", "monocore-probe", "x", 1, -3 /* session's */); }
static long load_module(void) { return syscall(SYS_init_module, NULL, 0, "") < 0 && errno == EFAULT ? 0 : -1; }
static long set_clock(void) { struct timespec now; clock_gettime(CLOCK_REALTIME, &now); return clock_settime(CLOCK_REALTIME, &now); }
static long set_name(void) { return sethostname("probe", 5); }
static long host_name(void)
{
	char name[256] = "";
	gethostname(name, sizeof name - 1);
	errno = EPERM;
	return strcmp(name, word) ? -1 : 0;
}
static long foreign_memory(void) { return (long)syscall(SYS_shmget, atoi(word), 0, 0); }
static long stray_descriptor(void) { return fcntl(atoi(word), F_GETFD); }
static long environment(void) { errno = ENOENT; return environ[0] ? 0 : -1; }
static long dump_core(void)
{
	struct rlimit limit;
	getrlimit(RLIMIT_CORE, &limit);
	errno = EFBIG;
	return limit.rlim_max > 1 ? 0 : -1;
}
static long raise_limit(void) { struct rlimit limit = {1 << 20, 1 << 20}; return setrlimit(RLIMIT_NOFILE, &limit); }
static long lock_memory(void)
{
	void *place = mmap(NULL, 1 << 24, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return mlock(place, 1 << 24);
}
static long spare_oom(void)
{
	int file = open("/proc/self/oom_score_adj", O_WRONLY);
	return file < 0 ? file : write(file, "-1000", 5);
}

static const struct { const char *name; long (*try)(void); } attempts[] = {
	{"read_file", read_file}, {"list_folder", list_folder}, {"write_file", write_file}, {"create_file", create_file},
	{"remove_file", remove_file}, {"rename_file", rename_file}, {"change_mode", change_mode},
	{"open_device", open_device}, {"make_device", make_device}, {"make_device_in", make_device_in}, {"open_handle", open_handle},
	{"signal_process", signal_process}, {"pidfd_process", pidfd_process}, {"trace_process", trace_process},
	{"read_memory", read_memory}, {"priority_of", priority_of}, {"connect_unix", connect_unix}, {"connect_tcp", connect_tcp},
	{"send_udp", send_udp}, {"packet_socket", packet_socket}, {"vsock_socket", vsock_socket}, {"links_of_host", links_of_host},
	{"mount_tmpfs", mount_tmpfs}, {"remount_root", remount_root}, {"unmount_root", unmount_root}, {"change_root", change_root},
	{"new_namespace", new_namespace}, {"join_namespace", join_namespace}, {"become_root", become_root},
	{"become_group", become_group}, {"set_groups", set_groups}, {"gain_capabilities", gain_capabilities},
	{"bounding_set", bounding_set}, {"new_privileges", new_privileges}, {"start_process", start_process},
	{"execute_shell", execute_shell}, {"kernel_log", kernel_log}, {"load_program", load_program},
	{"count_events", count_events}, {"use_ring", use_ring}, {"fault_memory", fault_memory}, {"use_keys", use_keys},
	{"load_module", load_module}, {"set_clock", set_clock}, {"set_name", set_name}, {"host_name", host_name},
	{"foreign_memory", foreign_memory}, {"stray_descriptor", stray_descriptor}, {"environment", environment},
	{"dump_core", dump_core}, {"raise_limit", raise_limit}, {"lock_memory", lock_memory}, {"spare_oom", spare_oom},
};

int main(int count, char **words)
{
	size_t index;

	word = count > 2 ? words[2] : "";
	for (index = 0; count > 1 && index < sizeof attempts / sizeof *attempts; index++) {
		if (strcmp(attempts[index].name, words[1]))
			continue;
		errno = 0;
		if (attempts[index].try() < 0)
			fprintf(stderr, "denied: %s\n", strerror(errno));
		else
			fprintf(stderr, "SUCCEEDED\n");
		return 0;
	}
	fprintf(stderr, "there is no such attempt\n");
	return 2;
}
