// The least that answers notifications: one filter at a time, "go on" to every call, nothing kept. What a recorder is measured against.
//
//     bare SOCKET
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define SYNC_WAKE_UP 1ul

// The descriptor that a runtime sends with a container's state.
static int received(int connection) {
    static char state[1 << 20];
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec data = {state, sizeof state};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(connection, &message, 0) <= 0)
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS)
        return -1;
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    return descriptor;
}

static void answer(int filter) {
    ioctl(filter, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP);
    struct pollfd ready = {filter, POLLIN, 0};
    while (poll(&ready, 1, -1) > 0 && !(ready.revents & POLLHUP)) {
        struct seccomp_notif call;
        memset(&call, 0, sizeof call);
        if (ioctl(filter, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
            continue;
        struct seccomp_notif_resp go_on = {.id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(filter, SECCOMP_IOCTL_NOTIF_SEND, &go_on);
    }
}

int main(int count, char **words) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (count != 2 || strlen(words[1]) >= sizeof address.sun_path)
        return 2;
    strcpy(address.sun_path, words[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 16) < 0) {
        perror(words[1]);
        return 1;
    }
    for (;;) {
        int connection = accept(listener, 0, 0);
        int filter = received(connection);
        close(connection);
        if (filter < 0)
            continue;
        answer(filter);
        close(filter);
    }
}
