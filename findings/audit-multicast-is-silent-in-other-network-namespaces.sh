#!/usr/bin/env bash
#
# The kernel sends audit records to the netlink group AUDIT_NLGRP_READLOG in the first network namespace alone. In any other the socket is
# made and bound without an error, with CAP_AUDIT_READ and all others, and hears nothing for ever: a log reader in a pod without hostNetwork,
# or in a node of kind, cannot tell "nothing was logged" from "I am deaf" but by making a record of its own.
#
# Seen with Linux 6.18 on x86_64.
#
# Needs root in the first namespaces, gcc, util-linux, and a kernel with audit. Ends with 1 if this has changed, with 2 if it cannot be tried here.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uname --kernel-release

gcc -x c -o hears - <<'C'
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Has the kernel log one call: getppid. */
static void log_one(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_LOG),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {sizeof code / sizeof *code, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
  syscall(SYS_getppid);
  _exit(0);
}

int main(void) {
  int audit = socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
  struct sockaddr_nl group = {.nl_family = AF_NETLINK, .nl_groups = 1 << (AUDIT_NLGRP_READLOG - 1)};
  if (audit < 0 || bind(audit, (struct sockaddr *)&group, sizeof group) < 0) {
    perror("audit");
    return 2;
  }
  pid_t child = fork();
  if (child == 0)
    log_one();
  waitpid(child, 0, 0);
  /* Others may be logged as well: those of the child say its pid. */
  char want[32], record[9000];
  snprintf(want, sizeof want, " pid=%d ", child);
  struct timeval second = {1, 0};
  setsockopt(audit, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
  int heard = 0;
  for (time_t end = time(0) + 3; time(0) < end;) {
    ssize_t size = recv(audit, record, sizeof record - 1, 0);
    if (size < (ssize_t)sizeof(struct nlmsghdr))
      continue;
    record[size] = 0;
    char *text = record + sizeof(struct nlmsghdr);
    for (char *at = text; *at; at++)
      if (!__builtin_strncmp(at, want, __builtin_strlen(want)))
        heard = 1;
  }
  printf("bound, and %s\n", heard ? "heard" : "heard nothing");
  return 0;
}
C

first=$(./hears) || exit 2
other=$(unshare --net ./hears)
echo "first network namespace: $first"
echo "another one: $other"
[[ $first == "bound, and heard" ]] || {
	echo "nothing is heard here at all: audit may be off, or this is not the first network namespace" >&2
	exit 2
}
[[ $other == "bound, and heard nothing" ]]
