/* Our command line: options in any order, "--", the program and its arguments. It comes from our own parent: what is wrong in it
 * is refused, not worked around. */
#define _GNU_SOURCE
#include "jail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-')
		refuse("not a number:", text);
	return value;
}

static int descriptor(const char *text)
{
	uint64_t value = number(text);

	if (value > 1 << 20)
		refuse("not a descriptor:", text);
	return (int)value;
}

static void full(size_t count)
{
	if (count >= MAX_ITEMS)
		refuse("too many", "items");
}

static void add_item(struct jail *jail, enum kind kind, const char *source, const char *target)
{
	full(jail->item_count);
	if (target[0] != '/' || strstr(target, "/../"))
		refuse("not a path of the jail:", target);
	jail->items[jail->item_count++] = (struct item){kind, source, target, -1};
}

/* Options of one value; false for another name. */
static bool one(struct jail *jail, const char *name, const char *value)
{
	if (!strcmp(name, "--report")) {
		jail->report = descriptor(value);
		report_to(jail->report);
	} else if (!strcmp(name, "--parent"))
		jail->parent = (pid_t)number(value);
	else if (!strcmp(name, "--namespaces"))
		jail->namespaces = (int)number(value);
	else if (!strcmp(name, "--root"))
		jail->root = value;
	else if (!strcmp(name, "--proc")) {
		add_item(jail, FOLDER, NULL, value);
		jail->proc = value;
	} else if (!strcmp(name, "--join"))
		jail->join = value;
	else if (!strcmp(name, "--cover"))
		add_item(jail, COVER, NULL, value);
	else if (!strcmp(name, "--group")) {
		full(jail->group_count);
		jail->groups[jail->group_count++] = (gid_t)number(value);
	} else if (!strcmp(name, "--capabilities"))
		jail->capabilities = number(value);
	else if (!strcmp(name, "--seccomp"))
		jail->filter = descriptor(value);
	else if (!strcmp(name, "--tap"))
		jail->tap = descriptor(value);
	else if (!strcmp(name, "--oom"))
		jail->oom = (int)number(value);
	else if (!strcmp(name, "--folder"))
		add_item(jail, FOLDER, NULL, value);
	else if (!strcmp(name, "--device"))
		add_item(jail, DEVICE, value, value);
	else if (!strcmp(name, "--keep")) {
		full(jail->keep_count);
		jail->keep[jail->keep_count++] = descriptor(value);
	} else
		return false;
	return true;
}

/* Options of two values; false for another name. */
static bool two(struct jail *jail, const char *name, const char *first, const char *second)
{
	if (!strcmp(name, "--identity")) {
		jail->identity = true;
		jail->uid = (uid_t)number(first);
		jail->gid = (gid_t)number(second);
	} else if (!strcmp(name, "--show"))
		add_item(jail, SHOW, first, second);
	else if (!strcmp(name, "--link"))
		add_item(jail, LINK, first, second);
	else if (!strcmp(name, "--share"))
		add_item(jail, SHARE, first, second);
	else if (!strcmp(name, "--share-read"))
		add_item(jail, SHARE_READ, first, second);
	else if (!strcmp(name, "--limit")) {
		full(jail->limit_count);
		jail->limits[jail->limit_count++] = (struct limit){(int)number(first), number(second)};
	} else
		return false;
	return true;
}

/* Options of none; false for another name. */
static bool none(struct jail *jail, const char *name)
{
	if (!strcmp(name, "--landlock"))
		jail->landlock = true;
	else if (!strcmp(name, "--connects"))
		jail->connects = true;
	else if (!strcmp(name, "--root-inside"))
		jail->root_inside = true;
	else
		return false;
	return true;
}

void parse(struct jail *jail, int count, char **words)
{
	int at = 1;

	*jail = (struct jail){.report = STDERR_FILENO, .filter = -1, .tap = -1, .oom = -1};
	while (at < count && strcmp(words[at], "--")) {
		if (none(jail, words[at]))
			at += 1;
		else if (at + 1 < count && one(jail, words[at], words[at + 1]))
			at += 2;
		else if (at + 2 < count && two(jail, words[at], words[at + 1], words[at + 2]))
			at += 3;
		else
			refuse("unknown word", words[at]);
	}
	if (at + 1 >= count)
		refuse("no program", "to run");
	jail->program = words + at + 1;
}
