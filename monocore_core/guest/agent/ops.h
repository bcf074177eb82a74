/* What the files of operations share: kept.c below op_streams.c below ops.c below standby.c; op_start.c and dial.c above all. */
#pragma once

#include "agent.h"

enum { ROLE_OUT, ROLE_ERR, ROLE_IN, ROLE_FAULT };

/* kept.c */
bool kept_room(struct kept *k, size_t more); /* false: there is no memory */
void kept_add(struct kept *k, const uint8_t *data, size_t size); /* there is room */
void kept_copy(const struct kept *k, size_t from, uint8_t *to, size_t size);
void kept_drop(struct kept *k, size_t size); /* from the beginning */

/* op_streams.c */
bool make_pipe(int *ours, int *theirs, bool we_read);
void close_from(int first); /* every descriptor from there on */
void stream_close(struct stream *s);
void op_end_output(struct op *op, int i);
bool op_pump_output(struct op *op, int i);
bool op_pump_input(struct op *op);
void op_close_input(struct op *op, bool say);

/* standby.c */
/* The child that waits, told what it is and with its pipes; false: there is none, or it cannot be that and is ended. */
bool standby_take(struct op *op, struct span body, const struct spec *spec);

/* dial.c */
void dial_event(struct op *op, bool timed_out); /* of one that is not connected yet */

/* ops.c */
bool op_is_helper(const struct op *op);
struct op *op_find(uint32_t id);
struct op *op_new(uint32_t id, enum op_kind kind);
void op_free(struct op *op);
void op_watch(struct op *op, int fd, int role, uint32_t events);
void op_settle(struct op *op);
