/* Templates: a booted guest that belongs to nobody is captured, and every copy of it becomes an individual.
 *
 * Its kernel finds the sizes of its own machine's disks by an interrupt that was left pending in the snapshot; the interface gets its
 * address in net.c. Randomness is renewed by SETUP's first field, before anything else of it is looked at, and nothing is set up
 * without. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

enum { LEAST_ENTROPY = 32, MOST_ENTROPY = 512 };

#ifdef __GLIBC__
typedef unsigned long ioctl_request;
#else
typedef int ioctl_request; /* as POSIX has it */
#endif

static bool renewed;
static int generator = -1; /* /dev/urandom */

void renew_prepare(void)
{
    generator = open("/dev/urandom", O_RDWR | O_CLOEXEC);
}

bool renew_template(void)
{
    static int found = -1;
    char value[8];
    if (found < 0)
        found = kernel_word("monocore.template", value, sizeof value);
    return found;
}

/* `bits`: what the kernel is to believe that nobody can guess of it. Gives an errno. */
static int add_random(struct span seed, size_t bits)
{
    union {
        struct rand_pool_info info;
        uint8_t bytes[sizeof(struct rand_pool_info) + MOST_ENTROPY];
    } pool;
    memset(&pool, 0, sizeof pool);
    pool.info.entropy_count = (int)bits;
    pool.info.buf_size = (int)seed.size;
    memcpy(pool.bytes + offsetof(struct rand_pool_info, buf), seed.data, seed.size);
    int result = ioctl(generator, (ioctl_request)RNDADDENTROPY, &pool);
    /* makes every generator of the kernel, each processor's included, draw from the pool before it gives anything more */
    if (result == 0)
        result = ioctl(generator, (ioctl_request)RNDRESEEDCRNG, NULL);
    int err = errno;
    explicit_bzero(&pool, sizeof pool);
    return result == 0 ? 0 : err;
}

/* What a renewal does, for nothing: of no worth, and so of no harm. */
void renew_rehearse(void)
{
    static const uint8_t nothing[2 * LEAST_ENTROPY];
    add_random((struct span){nothing, sizeof nothing}, 0);
}

int renew_random(struct span seed, struct fault *f)
{
    size_t size = seed.size < MOST_ENTROPY ? seed.size : MOST_ENTROPY;
    if (test_mode)
        return 0;
    if (size < LEAST_ENTROPY && renew_template())
        return fail(f, F_INVALID, 0, "%zu bytes of entropy do not make a copy of a template an individual", size);
    if (!size)
        return 0;
    int err = add_random((struct span){seed.data, size}, size * 8);
    renewed = err == 0;
    return renewed ? 0 : fail(f, F_SYSTEM, err, "cannot add entropy");
}

static int become(const struct setup *setup, bool other, struct fault *f)
{
    if (setup->hostname[0] && sethostname(setup->hostname, strlen(setup->hostname)) < 0)
        return fail(f, F_SYSTEM, errno, "cannot set the hostname '%s'", setup->hostname);
    if (setup_readonly()) /* nothing but us runs */
        mount(NULL, "/", NULL, MS_REMOUNT, NULL);
    int result = files_renew(setup, other, f);
    if (setup_readonly())
        mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
    return result < 0 ? -1 : net_reconfigure(setup, f);
}

static struct renewal renewal;

void renew_clear(void)
{
    memset(&renewal, 0, offsetof(struct renewal, setup.mounts)); /* it has none, and each of the hosts begins anew */
}

int renew_guest(struct span body, struct fault *f)
{
    renew_clear();
    renewed = false;
    if (setup_parse_renewal(body, &renewal, f) < 0)
        return -1;
    if (renewal.other && !renewed)
        return fail(f, F_STATE, 0, "a copy of a sandbox was given no entropy");
    if (become(&renewal.setup, renewal.other, f) < 0)
        return -1;
    if (renewal.setup.tied)
        is_tied = true;
    if (!renewal.held)
        freeze_leave();
    return 0;
}

int renew_check(struct fault *f)
{
    return renewed || !renew_template() ? 0 : fail(f, F_STATE, 0, "a copy of a template was given no entropy");
}
