/* A tar stream, as it is written to a pipe. */
#pragma once

#include "agent.h"

#include <sys/stat.h>

enum { TAR_BLOCK = 512, TAR_DEPTH = 200, TAR_NAME = 16 * 1024, TAR_BUFFER = 64 * 1024 };

struct tar {
    int fd;
    struct fault *f;
    char name[TAR_NAME]; /* of the entry, grown and shrunk as the walk goes */
    size_t name_size;
    uint8_t buffer[TAR_BUFFER];
};

/* Records that stand before an entry. */
struct tar_pax {
    char *data;
    size_t size, room;
    bool failed; /* for want of memory */
};

int tar_put(struct tar *w, const void *data, size_t size);
/* What ends an archive. */
int tar_end(struct tar *w);
void tar_pax_add(struct tar_pax *p, const char *key, const char *value, size_t value_size);
/* The type of what has a mode, which is no hard link and no socket. */
char tar_type(mode_t mode);
/* An entry's header, with further records before it, which the caller frees. */
int tar_header(struct tar *w, const struct stat *st, char type, const char *link, size_t link_size, struct tar_pax *p);
/* Exactly the announced size, whatever the file does meanwhile. */
int tar_data(struct tar *w, int fd, uint64_t size);
/* Make the entry's name that of what a folder has; -1 when that is too long. */
int tar_enter(struct tar *w, const char *name);
void tar_leave(struct tar *w, size_t before);
