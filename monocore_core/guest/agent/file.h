/* What the files of FILE requests share; all of it runs in a helper, whose output is a sequence of fields, or a file's bytes. */
#pragma once

#include "agent.h"

#include <sys/stat.h>

enum file_act { FILE_STAT = 1, FILE_LIST, FILE_MAKE_FOLDER, FILE_MOVE, FILE_REMOVE, FILE_READ, FILE_WRITE, FILE_WATCH };

/* Flags of a request; what they mean depends on the act. */
enum {
    FLAG_FOLLOW = 1,    /* STAT: a last symbolic link */
    FLAG_PARENTS = 2,   /* MAKE_FOLDER, WRITE: make folders on the way; MAKE_FOLDER: one that exists is no error */
    FLAG_REPLACE = 4,   /* MOVE */
    FLAG_RECURSIVE = 8, /* REMOVE, WATCH */
    FLAG_CREATE = 16,   /* WRITE: when it does not exist */
    FLAG_NEW = 32,      /* WRITE: it must not exist */
    FLAG_TRUNCATE = 64, /* WRITE */
    FLAG_APPEND = 128,  /* WRITE */
};

enum { MAX_PATH = 4096, MAX_PAGE = 10000, PAGE_BYTES = 4 * 1024 * 1024, MAX_DEPTH = 500 };

struct file_request {
    int64_t act, flags, mode, uid, gid, offset, length, limit;
    char path[MAX_PATH], target[MAX_PATH], after[256];
};

int file_parse(struct span body, struct file_request *r, struct fault *f);
/* In the helper: carry it out, `fd` being what the host reads, or writes. */
int file_run(const void *request, int fd, struct fault *f);

int file_stat(const struct file_request *r, int fd, struct fault *f);
int file_list(const struct file_request *r, int fd, struct fault *f);
int file_make_folder(const struct file_request *r, struct fault *f);
int file_move(const struct file_request *r, struct fault *f);
int file_remove(const struct file_request *r, struct fault *f);
int file_read(const struct file_request *r, int fd, struct fault *f);
int file_write(const struct file_request *r, int fd, struct fault *f);
int file_watch(const struct file_request *r, int fd, struct fault *f);

/* Say that something cannot be done with a path; the code follows from the errno. */
int file_fault(struct fault *f, int err, const char *what, const char *path);
int write_all(int fd, const void *data, size_t size);

/* A field within `room` bytes at `to`; gives its size, or 0 when it does not fit. */
size_t put_field(uint8_t *to, size_t room, uint16_t tag, const void *value, size_t size);
size_t put_number(uint8_t *to, size_t room, uint16_t tag, int64_t value);
