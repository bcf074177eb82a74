/* What a kept process wrote and the host has not acknowledged. */
#include "ops.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST = 4096 };

void kept_copy(const struct kept *k, size_t from, uint8_t *to, size_t size)
{
    if (!size)
        return;
    size_t at = (k->at + from) % k->room;
    size_t straight = k->room - at < size ? k->room - at : size;
    memcpy(to, k->data + at, straight);
    memcpy(to + straight, k->data, size - straight);
}

bool kept_room(struct kept *k, size_t more)
{
    size_t room = k->room ? k->room : LEAST;
    while (room - k->size < more)
        room *= 2;
    if (room == k->room)
        return true;
    uint8_t *data = malloc(room);
    if (!data)
        return false;
    kept_copy(k, 0, data, k->size);
    free(k->data);
    k->data = data;
    k->room = room;
    k->at = 0;
    return true;
}

void kept_add(struct kept *k, const uint8_t *data, size_t size)
{
    size_t at = (k->at + k->size) % k->room;
    size_t straight = k->room - at < size ? k->room - at : size;
    memcpy(k->data + at, data, straight);
    memcpy(k->data, data + straight, size - straight);
    k->size += size;
}

void kept_drop(struct kept *k, size_t size)
{
    k->offset += size;
    k->size -= size;
    k->sent -= size < k->sent ? size : k->sent;
    if (k->size) {
        k->at = (k->at + size) % k->room;
        return;
    }
    free(k->data);
    k->data = NULL;
    k->room = k->at = 0;
}
