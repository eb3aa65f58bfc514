#!/usr/bin/env bash
#
# SECCOMP_IOCTL_NOTIF_RECV blocks on a descriptor with O_NONBLOCK: with nothing to receive it waits for the next
# notification instead of failing with EAGAIN. So a loop that reads "until EAGAIN" hangs, though poll(2) and epoll(7)
# work on the descriptor: receive once for each time that it is readable.
#
# Seen with Linux 6.18 (x86_64): the receiver below, on an empty queue, gets the call that a child makes half a second
# later, and no EAGAIN.
#
# Needs gcc and Linux 5.6 or later; no privilege. Ends with 1 if this has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/receive.c" <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(void) {
  /* Every getppid is notified, and nothing else. */
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {sizeof code / sizeof *code, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 2;
  int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
  if (listener < 0) return perror("seccomp"), 2;
  if (fcntl(listener, F_SETFL, O_NONBLOCK)) return perror("fcntl"), 2;

  pid_t child = fork();
  if (!child) {
    close(listener);
    usleep(500000);
    syscall(SYS_getppid);
    _exit(0);
  }
  struct pollfd ready = {.fd = listener, .events = POLLIN};
  printf("poll says: %s\n", poll(&ready, 1, 0) ? "something to receive" : "nothing to receive");

  struct seccomp_notif call;
  memset(&call, 0, sizeof call);
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  int result = ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call);
  int error = errno;
  clock_gettime(CLOCK_MONOTONIC, &after);
  long waited = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
  if (result) {
    printf("RECV says: %s\n", strerror(error));
    ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call);
  } else {
    printf("RECV says: a call, after %s\n", waited >= 200 ? "a wait" : "no wait");
  }
  struct seccomp_notif_resp answer = {.id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
  ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  waitpid(child, NULL, 0);
  return 0;
}
C
gcc -O1 -Wall -Wno-unused-result -o "$work/receive" "$work/receive.c"
seen=$(timeout 20 "$work/receive")
printf 'Linux %s\n%s\n' "$(uname -r)" "$seen"
[[ $seen == 'poll says: nothing to receive
RECV says: a call, after a wait' ]] || { echo "this has changed" >&2; exit 1; }
