/* A process that is put into a jail, and becomes the program. See ../__init__.py for what it is told, and why. */
#ifndef MONOCORE_JAIL_H
#define MONOCORE_JAIL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* More of anything is a mistake of whoever wrote the words. */
#define MAX_ITEMS 512

/* Status with which we end when the jail could not be made; the reason is in the report. */
#define FAILED 71

/* SHOW: read and executed. DEVICE: opened, for writing too. FOLDER: empty. LINK: symbolic. SHARE, SHARE_READ: a guest's, to write or
 * to read alone; no link on the way is followed. COVER: an empty folder over one that is shared. */
enum kind { SHOW, DEVICE, FOLDER, LINK, SHARE, SHARE_READ, COVER };

/* One thing in the new root. */
struct item {
	enum kind kind;
	const char *source; /* on the host; of a link, what it says */
	const char *target; /* in the jail, absolute */
	int opened;         /* O_PATH descriptor of the source */
};

struct limit {
	int resource;
	uint64_t value;
};

/* Everything that we were told. */
struct jail {
	int report;      /* descriptor that our words go to; closed by exec */
	pid_t parent;    /* die with it, or 0 */
	int namespaces;  /* CLONE_NEW* */
	const char *join; /* user namespace to enter first, by path, or NULL */
	bool root_inside; /* whether we are root in a user namespace that is made */
	const char *root; /* folder to make the new root on, or NULL */
	const char *proc; /* where the root has its processes' folder, or NULL */
	bool landlock;   /* whether to use it where the kernel has it */
	bool connects;   /* whether TCP may be used: Landlock does not forbid it then */
	bool identity;   /* whether to become uid, gid */
	uid_t uid;
	gid_t gid;
	gid_t groups[MAX_ITEMS];
	size_t group_count;
	uint64_t capabilities; /* that are kept */
	int filter;            /* descriptor of a seccomp program, or -1 */
	int tap;               /* descriptor whose place a tap takes, or -1 */
	int oom;               /* badness to the OOM killer, or -1 to keep it */
	struct item items[MAX_ITEMS];
	size_t item_count;
	struct limit limits[MAX_ITEMS];
	size_t limit_count;
	int keep[MAX_ITEMS];
	size_t keep_count;
	char **program;
};

/* words.c */
void parse(struct jail *jail, int count, char **words);

/* report.c */
void report_to(int descriptor);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail(const char *what, const char *which);
_Noreturn void refuse(const char *what, const char *which);
void write_file(const char *path, const char *text);

/* root.c */
void make_root(struct jail *jail);

/* tap.c */
void make_tap(int place);

/* drop.c */
void become(const struct jail *jail);
void set_limits(const struct jail *jail);
void keep_descriptors(const struct jail *jail);

/* confine.c */
int restrict_files(const struct jail *jail);
bool filter_calls(int descriptor);

#endif
