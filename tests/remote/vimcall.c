/* SPDX-License-Identifier: BSD-3-Clause */
/* vimcall - the calls of src/vim from the shell, for tests against the simulator.
 *
 *   vimcall [-p PASSWORD] [-c COOKIE] [-t THUMBPRINT] [-a CA-FILE] [-i] HOST:PORT USER CALL [ARGUMENT...]
 *
 * Calls of one run share one session. A failure prints "CODE: sentence" and ends with status 1. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vim/vim.h"

static struct vim_session *session;
static struct err err;

struct command {
    const char *name;
    int argument_count;
    VixError (*run)(char **arguments);
};

static const char *text(const char *t)
{
    return t != NULL ? t : "-";
}

static VixError run_about(char **a)
{
    (void)a;
    const struct vim_about *about = vim_about(session);
    printf("peer=%s vcenter=%d type=%s version=%s\nname=%s\n", vim_peer(session), vim_is_vcenter(session),
           text(about->api_type), text(about->api_version), text(about->full_name));
    return VIX_OK;
}

static VixError run_alive(char **a)
{
    (void)a;
    return vim_keep_alive(session, &err);
}

static VixError run_find(char **a)
{
    char *vm;
    VixError code = vim_find_vm(session, a[0], &vm, &err);
    if (code == VIX_OK) {
        puts(vm);
        free(vm);
    }
    return code;
}

static VixError run_datastore(char **a)
{
    char *moref;
    VixError code = vim_find_datastore(session, a[0], &moref, &err);
    if (code == VIX_OK) {
        puts(moref);
        free(moref);
    }
    return code;
}

static void print_vm(const struct vim_vm *vm)
{
    printf("vm=%s name=%s host=%s power=%s vmx=%s snapshot=%s tracking=%d datastores=%zu\n", text(vm->moref),
           text(vm->name), text(vm->host), text(vm->power_state), text(vm->vmx_path), text(vm->current_snapshot),
           vm->change_tracking, vm->datastore_count);
    for (size_t i = 0; i < vm->disk_count; i++) {
        const struct vim_disk *d = &vm->disks[i];
        printf("disk key=%d unit=%d capacity=%" PRIu64 " controller=%s backing=%s mode=%s thin=%d", d->key, d->unit,
               d->capacity, text(d->controller_type), text(d->backing_type), text(d->disk_mode), d->thin);
        for (size_t j = 0; j < d->file_count; j++) {
            printf(" file=%s", d->files[j]);
        }
        putchar('\n');
    }
}

static VixError run_vm(char **a)
{
    struct vim_vm *vm;
    VixError code = vim_read_vm(session, a[0], a[1], &vm, &err);
    if (code == VIX_OK) {
        print_vm(vm);
        vim_vm_free(vm);
    }
    return code;
}

/* The key of the disk that a path names. */
static VixError run_key(char **a)
{
    struct vim_vm *vm;
    VixError code = vim_read_vm(session, a[0], NULL, &vm, &err);
    if (code == VIX_OK) {
        const struct vim_disk *disk = vim_disk_by_path(vm, a[1]);
        printf("%d\n", disk != NULL ? disk->key : -1);
        vim_vm_free(vm);
    }
    return code;
}

static VixError run_ticket(char **a)
{
    static const char *const kinds[] = {"read-vm", "read-disk", "write-disk", "datastore"};
    struct vim_ticket *t;
    unsigned kind = 0;
    while (kind < 3 && strcmp(kinds[kind], a[0]) != 0) {
        kind++;
    }
    VixError code = vim_get_ticket(session, (enum vim_ticket_kind)kind, a[1], (int32_t)strtol(a[2], NULL, 10),
                                   a[3][0] != '\0' ? a[3] : NULL, &t, &err);
    if (code == VIX_OK) {
        printf("host=%s port=%u thumbprint=%s service=%s id=%s\n", t->host, t->port, text(t->thumbprint), t->service,
               t->session_id);
        vim_ticket_free(t);
    }
    return code;
}

static VixError run_disable(char **a)
{
    return vim_disable_methods(session, a[0], a[1], &err);
}

static VixError run_enable(char **a)
{
    return vim_enable_methods(session, a[0], a[1], &err);
}

static VixError run_create(char **a)
{
    return vim_create_disk(session, a[0], a[1], a[2], strtoull(a[3], NULL, 10), &err);
}

static VixError run_delete(char **a)
{
    return vim_delete_disk(session, a[0], &err);
}

static VixError run_extend(char **a)
{
    return vim_extend_disk(session, a[0], strtoull(a[1], NULL, 10), &err);
}

static VixError run_mkdir(char **a)
{
    return vim_make_folder(session, a[0], &err);
}

static VixError run_attach(char **a)
{
    int32_t key;
    bool open;
    VixError code = vim_attach_disk(session, a[0], a[1], "persistent", strtoull(a[2], NULL, 10), &key, &open, &err);
    if (code == VIX_OK) {
        printf("%d\n", key);
    }
    return code;
}

static VixError run_detach(char **a)
{
    return vim_detach_disk(session, a[0], (int32_t)strtol(a[1], NULL, 10), a[2], NULL, &err);
}

static void print_inventory(const struct vim_inventory *inventory)
{
    for (size_t i = 0; i < inventory->vm_count; i++) {
        const struct vim_vm_entry *entry = &inventory->vms[i];
        print_vm(entry->vm);
        for (size_t j = 0; j < entry->snapshot_count; j++) {
            const struct vim_snapshot *s = &entry->snapshots[j];
            printf("snapshot %u %s name=%s current=%d\n", s->depth, text(s->moref), text(s->name), s->current);
        }
    }
    for (size_t i = 0; i < inventory->datastore_count; i++) {
        const struct vim_datastore_entry *d = &inventory->datastores[i];
        printf("datastore %s name=%s type=%s capacity=%" PRIu64 " free=%" PRIu64 " accessible=%d\n", text(d->moref),
               text(d->name), text(d->type), d->capacity, d->free, d->accessible);
    }
}

static VixError run_list(char **a)
{
    (void)a;
    struct vim_inventory *inventory;
    VixError code = vim_list(session, &inventory, &err);
    if (code == VIX_OK) {
        print_inventory(inventory);
        vim_inventory_free(inventory);
    }
    return code;
}

static const struct command commands[] = {
    {"about", 0, run_about},   {"alive", 0, run_alive},   {"find", 1, run_find},     {"datastore", 1, run_datastore},
    {"vm", 2, run_vm},         {"key", 2, run_key},       {"ticket", 4, run_ticket}, {"disable", 2, run_disable},
    {"enable", 2, run_enable}, {"create", 4, run_create}, {"delete", 1, run_delete}, {"extend", 2, run_extend},
    {"mkdir", 1, run_mkdir},   {"attach", 3, run_attach}, {"detach", 3, run_detach}, {"list", 0, run_list},
};

static const struct command *find_command(const char *name, int arguments_left)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, name) == 0 && arguments_left >= commands[i].argument_count) {
            return &commands[i];
        }
    }
    return NULL;
}

static VixError run_calls(int argc, char **argv)
{
    for (int i = 0; i < argc;) {
        const struct command *command = find_command(argv[i], argc - i - 1);
        if (command == NULL) {
            return err_set(&err, VIX_E_INVALID_ARG, "no such call, or too few arguments: %s", argv[i]);
        }
        VixError code = command->run(&argv[i + 1]);
        if (code != VIX_OK) {
            return code;
        }
        i += 1 + command->argument_count;
    }
    return VIX_OK;
}

static VixError run(struct vim_login *how, int argc, char **argv)
{
    static char host[256];
    const char *colon = argc >= 2 ? strrchr(argv[0], ':') : NULL;

    if (colon == NULL || (size_t)(colon - argv[0]) >= sizeof host) {
        return err_set(&err, VIX_E_INVALID_ARG, "usage: vimcall [OPTIONS] HOST:PORT USER CALL...");
    }
    memcpy(host, argv[0], (size_t)(colon - argv[0]));
    how->host = host;
    how->port = (uint16_t)strtoul(colon + 1, NULL, 10);
    how->user = argv[1];
    VixError code = vim_login(how, &session, &err);
    if (code == VIX_OK) {
        code = run_calls(argc - 2, argv + 2);
        vim_logout(session);
    }
    return code;
}

int main(int argc, char **argv)
{
    struct vim_login how = {.connect_timeout_ms = 5000, .call_timeout_ms = 20000};
    int option;

    err_init(&err);
    while ((option = getopt(argc, argv, "+p:c:t:a:i")) != -1) {
        switch (option) {
        case 'p':
            how.password = optarg;
            break;
        case 'c':
            how.cookie = optarg;
            break;
        case 't':
            how.thumbprint = optarg;
            break;
        case 'a':
            how.ca_file = optarg;
            break;
        case 'i':
            how.insecure = true;
            break;
        default:
            return 2;
        }
    }
    VixError code = run(&how, argc - optind, argv + optind);
    if (code != VIX_OK) {
        fflush(stdout);
        fprintf(stderr, "%" PRIu64 ": %s\n", (uint64_t)code, err.text);
        return 1;
    }
    return 0;
}
