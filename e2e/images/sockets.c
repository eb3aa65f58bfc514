/* Makes a socket of each of some families in every way that there is to make
 * one, and says what came of it, a line each: WAY FAMILY ERRNO. 32-bit programs
 * on amd64 have two ways: socket, whose family a filter sees, and socketcall,
 * whose arguments lie in memory. A 64-bit program can take both by int 0x80. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	const char *name;
	int family, type;
} FAMILIES[] = {
	{"unix", AF_UNIX, SOCK_STREAM},
	{"inet", AF_INET, SOCK_STREAM},
	{"inet6", AF_INET6, SOCK_STREAM},
	{"alg", AF_ALG, SOCK_SEQPACKET},
};

static void say(const char *way, int family, long result) {
	printf("%s %s %ld\n", way, FAMILIES[family].name, result < 0 ? -result : 0);
	if (result >= 0)
		close((int)result);
}

#ifdef __x86_64__
/* The registers of a call by int 0x80 have 32 bits, pointers too. */
static long i386(long number, long first, long second, long third) {
	long result;
	__asm__ volatile("int $0x80"
	                 : "=a"(result)
	                 : "a"(number), "b"(first), "c"(second), "d"(third)
	                 : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)result;
}

static void by_i386(void) {
	enum { SOCKETCALL = 102, SOCKET = 359, SYS_SOCKET_CALL = 1 };
	uint32_t *args = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
	                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (args == MAP_FAILED)
		return;
	for (unsigned i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++) {
		say("i386-socket", i, i386(SOCKET, FAMILIES[i].family, FAMILIES[i].type, 0));
		args[0] = (uint32_t)FAMILIES[i].family;
		args[1] = (uint32_t)FAMILIES[i].type;
		args[2] = 0;
		say("i386-socketcall", i, i386(SOCKETCALL, SYS_SOCKET_CALL, (long)args, 0));
	}
}
#else
static void by_i386(void) {
}
#endif

int main(void) {
	for (unsigned i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++) {
		long result = syscall(SYS_socket, FAMILIES[i].family, FAMILIES[i].type, 0);
		say("native", i, result < 0 ? -errno : result);
	}
	by_i386();
	return 0;
}
