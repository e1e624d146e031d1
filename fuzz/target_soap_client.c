/* SPDX-License-Identifier: BSD-3-Clause */
/* The vSphere client against any server. A piece is an answer: its file is the number of the method that it answers
 * (the first unused one that fits is taken, else the last), its place the status of HTTP. */
#include "soap_peer.h"

#include <string.h>
#include <time.h>

#include "vim/vim.h"

#define ANSWERS_MAX 100u /* in all: no server is waited for for ever */

static struct piece pieces[PIECES_MAX];
static bool used[PIECES_MAX];
static size_t count;
static unsigned answers;

/* In the place of the C library's: a task that does not end takes no time here. */
int nanosleep(const struct timespec *want, struct timespec *left)
{
    (void)want, (void)left;
    return 0;
}

bool soap_peer_answer(const struct http_request *request, const char *cookie, const char *method,
                      struct http_answer *ret_answer)
{
    unsigned number = soap_method_number(method);
    const struct piece *found = NULL;

    (void)request, (void)cookie;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].file == number) {
            found = &pieces[i];
            if (!used[i]) {
                used[i] = true;
                break;
            }
        }
    }
    if (found == NULL || answers++ >= ANSWERS_MAX) {
        return false;
    }
    ret_answer->status = found->off;
    ret_answer->len = found->len;
    ret_answer->room = (size_t)found->len + 1;
    ret_answer->body = malloc(ret_answer->room);
    FUZZ_ASSERT(ret_answer->body != NULL, "no memory");
    memcpy(ret_answer->body, found->data, found->len);
    ret_answer->body[found->len] = '\0';
    return true;
}

static void use_vm(struct vim_session *s, const char *vm)
{
    static const enum vim_ticket_kind kinds[] = {VIM_TICKET_READ_VM, VIM_TICKET_READ_DISK, VIM_TICKET_WRITE_DISK,
                                                 VIM_TICKET_DATASTORE};
    static const char path[] = "[datastore1] vm1/disk.vmdk";
    struct vim_vm *hardware = NULL;
    struct vim_ticket *ticket = NULL;
    int32_t key = 0;
    bool open;

    for (unsigned i = 0; i < 2; i++) {
        if (vim_read_vm(s, vm, i > 0 ? "snapshot-1" : NULL, &hardware, NULL) == VIX_OK) {
            (void)vim_disk_by_path(hardware, path);
            vim_vm_free(hardware);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        if (vim_get_ticket(s, kinds[i], vm, 2000, NULL, &ticket, NULL) == VIX_OK) {
            FUZZ_ASSERT(ticket->host != NULL && ticket->session_id != NULL && ticket->service != NULL, "ticket");
            vim_ticket_free(ticket);
        }
    }
    if (vim_attach_disk(s, vm, path, "persistent", 1 << 20, &key, &open, NULL) == VIX_OK) {
        (void)vim_detach_disk(s, vm, key, path, NULL, NULL);
    }
    (void)vim_disable_methods(s, vm, "fuzz", NULL);
    (void)vim_enable_methods(s, vm, "fuzz", NULL);
}

static void use(struct vim_session *s)
{
    static const char *const specs[] = {"moref=vm-1", "[datastore1] vm1/vm1.vmx", "ha-datacenter/vm/vm1",
                                        "uuid=564d0000-0000-0000-0000-000000000001",
                                        "vm1/vm1.vmx?dcPath=ha-datacenter&dsName=datastore1"};
    struct vim_inventory *inventory = NULL;
    char *found = NULL;

    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        if (vim_find_vm(s, specs[i], &found, NULL) == VIX_OK) {
            FUZZ_ASSERT(found != NULL && found[0] != '\0', "%s: found, but nothing", specs[i]);
            if (i == 1) {
                use_vm(s, found);
            }
            free(found);
        }
    }
    if (vim_find_datastore(s, "datastore1", &found, NULL) == VIX_OK) {
        free(found);
    }
    if (vim_list(s, &inventory, NULL) == VIX_OK) {
        vim_inventory_free(inventory);
    }
    (void)vim_keep_alive(s, NULL);
    (void)vim_create_disk(s, "[datastore1] vm1/new.vmdk", "thin", "lsiLogic", 1 << 20, NULL);
    (void)vim_extend_disk(s, "[datastore1] vm1/new.vmdk", 2 << 20, NULL);
    (void)vim_make_folder(s, "[datastore1] vm2/a", NULL);
    (void)vim_delete_disk(s, "[datastore1] vm1/new.vmdk", NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const bool by_cookie = size > 0 && data[size - 1] % 2 == 0;
    const struct vim_login how = {
        .host = "peer",
        .user = by_cookie ? NULL : "user",
        .password = by_cookie ? NULL : "password",
        .cookie = by_cookie ? "vmware_soap_session=\"token\"" : NULL,
        .insecure = true,
        .connect_timeout_ms = 1000,
        .call_timeout_ms = 1000,
    };
    struct vim_session *s = NULL;
    struct err err;

    err_init(&err);
    count = pieces_read(data, size, pieces);
    memset(used, 0, sizeof used);
    answers = 0;
    if (vim_login(&how, &s, &err) == VIX_OK) {
        use(s);
        vim_logout(s);
    } else {
        FUZZ_ASSERT(strstr(err.text, "password") == NULL || strchr(err.text, '<') == NULL, "%s", err.text);
    }
    return 0;
}
