/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams to the service manager. */
#include "daemon/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int notify_fd = -1;

void notify_begin(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path != NULL ? strlen(path) : 0;

    if (len < 2 || len >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') { /* an abstract name */
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 &&
        connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0) {
        (void)close(fd);
        fd = -1;
    }
    notify_fd = fd;
}

void notify_send(const char *message)
{
    if (notify_fd >= 0) {
        (void)send(notify_fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}
