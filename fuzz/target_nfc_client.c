/* SPDX-License-Identifier: BSD-3-Clause */
/* The client of NFC against any host: banner, classic messages, frames, in clear text. It must come to an end, call
 * back once for each request, and never write outside of a request's buffer. */
#include "peer.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "net/tcp.h"
#include "nfc/client.h"

#define IO_LEN 1024u
#define KEEPS_ALIVE 11 /* upper half of the last byte of an input whose client asks for a sector when it waits */
#define KEEP_ALIVE_MS 2u

static const uint8_t *input;
static size_t input_len;

/* The linker puts it in the place of tcp_connect. */
VixError __wrap_tcp_connect(const char *host, uint16_t port, unsigned timeout_ms, struct stream **ret_stream,
                            struct err *err);
VixError __wrap_tcp_connect(const char *host, uint16_t port, unsigned timeout_ms, struct stream **ret_stream,
                            struct err *err)
{
    (void)host, (void)port, (void)timeout_ms, (void)err;
    *ret_stream = peer_stream(input, input_len, true);
    return VIX_OK;
}

struct io {
    struct nfc_request r;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done;
    uint8_t *buf; /* on its own: what is written outside of it is found */
};

static void io_done(struct nfc_request *r, VixError result, const struct err *err)
{
    struct io *io = r->data;
    SCOPED_LOCK(&io->lock);

    (void)result, (void)err;
    io->done++;
    (void)pthread_cond_signal(&io->changed);
}

static void io_begin(struct io *io, struct nfc_client *c, bool write, uint64_t off)
{
    memset(io, 0, sizeof *io);
    (void)pthread_mutex_init(&io->lock, NULL);
    (void)pthread_cond_init(&io->changed, NULL);
    io->buf = calloc(1, IO_LEN);
    FUZZ_ASSERT(io->buf != NULL, "no memory");
    io->r =
        (struct nfc_request){.write = write, .off = off, .len = IO_LEN, .buf = io->buf, .done = io_done, .data = io};
    if (nfc_client_submit(c, &io->r, NULL) != VIX_OK) {
        io->done = 1;
    }
}

static void io_end(struct io *io)
{
    pthread_mutex_lock(&io->lock);
    while (io->done == 0) {
        (void)pthread_cond_wait(&io->changed, &io->lock);
    }
    FUZZ_ASSERT(io->done == 1, "called back %u times", io->done);
    pthread_mutex_unlock(&io->lock);
    free(io->buf);
}

/* In the order of the seeds, then what only our own hosts know. @idle_ms before that. */
static void use(struct nfc_client *c, const struct nfc_disk_info *info, unsigned idle_ms)
{
    const struct timespec idle = {.tv_nsec = (long)idle_ms * 1000000L};
    static const char *const keys[] = {"adapterType", "none"};
    struct io io[3];
    uint8_t bitmap[8] = {0};
    char *text = NULL;
    size_t len = 0;

    if (idle_ms > 0) {
        (void)nanosleep(&idle, NULL);
    }
    FUZZ_ASSERT(info->capacity % 512 == 0, "capacity %llu", (unsigned long long)info->capacity);
    bool room = info->capacity >= 8192;
    if (room) {
        io_begin(&io[0], c, false, 512);
        io_end(&io[0]);
        io_begin(&io[1], c, true, 4096);
        io_end(&io[1]);
    }
    for (size_t i = 0; i < 2; i++) {
        if (nfc_client_meta_get(c, keys[i], &text, NULL) == VIX_OK) {
            FUZZ_ASSERT(strlen(text) < NFC_VALUE_MAX + 1, "a value that is too long");
            free(text);
        }
    }
    (void)nfc_client_allocated(c, 65536, 0, 64, bitmap, NULL);
    if (nfc_client_meta_keys(c, &text, &len, NULL) == VIX_OK) {
        FUZZ_ASSERT(len == 0 || text[len - 1] == '\0', "keys without an end");
        free(text);
    }
    (void)nfc_client_meta_set(c, "key", "value", NULL);
    (void)nfc_client_flush(c, NULL);
    if (room) {
        io_begin(&io[2], c, false, 0);
        nfc_client_close(c);
        io_end(&io[2]);
    } else {
        nfc_client_close(c);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nfc_connect how = {
        .host = "peer",
        .port = 1,
        .session_id = "52a1-fuzz",
        .service = "vpxa-nfc",
        .insecure = true,
        .compression = size > 0 ? (enum nfc_compression)(data[size - 1] % 4) : NFC_COMPRESS_NONE,
        .handshake_timeout_ms = 5000,
        .read_timeout_ms = 5000,
        .write_timeout_ms = 5000,
        .keep_alive_ms = size > 0 && data[size - 1] / 16 == KEEPS_ALIVE ? KEEP_ALIVE_MS : 0,
        .path = "[ds] vm/x.vmdk",
    };
    struct nfc_client *c = NULL;
    struct nfc_disk_info info;

    input = data;
    input_len = size;
    if (nfc_client_open(&how, &c, &info, NULL) == VIX_OK) {
        use(c, &info, how.keep_alive_ms > 0 ? KEEP_ALIVE_MS * 3 / 2 : 0);
    }
    (void)nfc_client_create_disk(&how, 3, 2, 13, 1 << 20, NULL);
    return 0;
}
