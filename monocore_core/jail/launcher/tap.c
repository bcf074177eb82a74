/* A tap that leads nowhere: nothing else is in our network namespace, which goes with us. See the kernel's networking/tuntap. */
#define _GNU_SOURCE
#include "jail.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void make_tap(int place)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (tap < 0)
		fail("open", "/dev/net/tun");
	strcpy(request.ifr_name, "template");
	if (ioctl(tap, TUNSETIFF, &request) < 0)
		fail("make", "a tap");
	if (dup2(tap, place) < 0)
		fail("place", "the tap");
	close(tap);
}
