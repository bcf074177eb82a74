/* PID 1 of the tests' own: answers on the agent's port, one request a line. Static, no library but libc. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

static char buffer[65536];

static int read_small(const char *path, char *into, int size)
{
	int file = open(path, O_RDONLY), got;
	if (file < 0)
		return -1;
	got = read(file, into, size - 1);
	close(file);
	into[got > 0 ? got : 0] = 0;
	return got;
}

static int open_port(void)
{
	char path[400], name[64];
	struct dirent *entry;
	DIR *folder = opendir("/sys/class/virtio-ports");
	while (folder && (entry = readdir(folder))) {
		snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
		if (read_small(path, name, sizeof name) <= 0 || strncmp(name, "monocore.agent", 14))
			continue;
		snprintf(path, sizeof path, "/dev/%s", entry->d_name);
		return open(path, O_RDWR);
	}
	return -1;
}

static void say(int port, const char *text, int size)
{
	while (size > 0) {
		int sent = write(port, text, size);
		if (sent <= 0)
			return;
		text += sent;
		size -= sent;
	}
}

static void disks(int port)
{
	char path[400], serial[64], line[2048] = "", start[9], one[600];
	struct dirent *entry;
	DIR *folder = opendir("/sys/block");
	while (folder && (entry = readdir(folder))) {
		int disk, writable;
		snprintf(path, sizeof path, "/sys/block/%s/serial", entry->d_name);
		if (read_small(path, serial, sizeof serial) <= 0)
			continue;
		snprintf(path, sizeof path, "/dev/%s", entry->d_name);
		memset(start, 0, sizeof start);
		disk = open(path, O_RDONLY);
		if (disk < 0 || read(disk, start, 8) != 8)
			strcpy(start, "?");
		close(disk);
		snprintf(path, sizeof path, "/sys/block/%s/ro", entry->d_name);
		writable = read_small(path, one, sizeof one) > 0 && one[0] == '0';
		snprintf(one, sizeof one, "%s=%s:%s:%d ", serial, entry->d_name, strcmp(serial, "boot") ? start : "",
			 writable);
		strncat(line, one, sizeof line - strlen(line) - 1);
	}
	strcat(line, "\n");
	say(port, line, strlen(line));
}

/* Reads, or writes, the first 4 MiB of the first further disk, past the page cache's start. */
static void transfer(int port, int writing)
{
	static char block[65536];
	int done, disk = open("/dev/vdb", writing ? O_WRONLY : O_RDONLY);
	for (done = 0; done < 4 << 20; done += sizeof block)
		if ((writing ? write(disk, block, sizeof block) : read(disk, block, sizeof block)) != sizeof block)
			break;
	if (writing)
		fsync(disk);
	close(disk);
	snprintf(block, sizeof block, "%d\n", done);
	say(port, block, strlen(block));
}

int main(void)
{
	int console, port, got;
	mount("dev", "/dev", "devtmpfs", 0, 0);
	mount("sys", "/sys", "sysfs", 0, 0);
	mount("proc", "/proc", "proc", 0, 0);
	console = open("/dev/console", O_WRONLY);
	read_small("/proc/cmdline", buffer, sizeof buffer);
	if (strstr(buffer, "test.mute"))
		for (;;)
			pause();
	dprintf(console, "hello from the guest\n");
	port = open_port();
	for (;;) {
		got = read(port, buffer, sizeof buffer);
		if (got <= 0) {
			struct pollfd wait = { port, POLLIN, 0 };
			poll(&wait, 1, 10);
			continue;
		}
		if (buffer[0] == 'R')
			reboot(RB_AUTOBOOT);
		else if (buffer[0] == 'D')
			disks(port);
		else if (buffer[0] == 'I' || buffer[0] == 'W')
			transfer(port, buffer[0] == 'W');
		else if (buffer[0] == 'F')
			for (;;)
				say(console, "flood flood flood flood flood flood flood flood flood flood flood\n", 66);
		else
			say(port, buffer, got);
	}
}
