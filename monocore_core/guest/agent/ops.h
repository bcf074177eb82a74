/* What the three files of operations share: ops.c above op_streams.c; op_start.c above both. */
#pragma once

#include "agent.h"

enum { ROLE_OUT, ROLE_ERR, ROLE_IN, ROLE_FAULT };

/* op_streams.c */
void stream_close(struct stream *s);
void op_end_output(struct op *op, int i);
bool op_pump_output(struct op *op, int i);
bool op_pump_input(struct op *op);
void op_close_input(struct op *op, bool say);

/* ops.c */
struct op *op_find(uint32_t id);
struct op *op_new(uint32_t id, enum op_kind kind);
void op_free(struct op *op);
void op_watch(struct op *op, int fd, int role, uint32_t events);
void op_settle(struct op *op);
