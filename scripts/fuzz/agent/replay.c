/* Runs the harness over inputs from standard input, where there is no fuzzer: each a length (four bytes, little-endian) and its bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int main(int argc, char **argv)
{
    uint8_t head[4];
    LLVMFuzzerInitialize(&argc, &argv);
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        size_t size = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        uint8_t *data = malloc(size + 1);
        if (!data || fread(data, 1, size, stdin) != size)
            return 2;
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    return 0;
}
