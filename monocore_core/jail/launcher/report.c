/* Words to whoever started us, a line each: "pid N", "landlock N", "seccomp 0", "error TEXT". */
#define _GNU_SOURCE
#include "jail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int reporter = STDERR_FILENO;

void report_to(int descriptor)
{
	reporter = descriptor;
}

void say(const char *format, ...)
{
	char line[512];
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(line, sizeof line, format, values);
	va_end(values);
	if (length < 0)
		return;
	if ((size_t)length >= sizeof line)
		length = sizeof line - 1;
	line[length - 1] = '\n';
	/* in one piece, since a pipe takes that much at once; without a reader there is nobody to tell */
	if (write(reporter, line, (size_t)length) < 0)
		return;
}

void fail(const char *what, const char *which)
{
	say("error %s %s: %s\n", what, which, strerror(errno));
	_exit(FAILED);
}

void refuse(const char *what, const char *which)
{
	say("error %s %s\n", what, which);
	_exit(FAILED);
}

void write_file(const char *path, const char *text)
{
	size_t length = strlen(text);
	int file = open(path, O_WRONLY | O_CLOEXEC);

	if (file < 0)
		fail("open", path);
	if (write(file, text, length) != (ssize_t)length)
		fail("write", path);
	close(file);
}
