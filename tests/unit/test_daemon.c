/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of the disk host that need no network: configuration, passwords, paths, machines, tickets, sessions. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/config.h"
#include "daemon/config.h"
#include "daemon/inventory.h"
#include "daemon/knobs.h"
#include "daemon/sessions.h"
#include "daemon/tickets.h"
#include "daemon/users.h"
#include "store/store_fault.h"
#include "vmdk/chain.h"
#include "vmdk/create.h"

static char folder[64];
static struct err err;
static struct host_config config;
static struct datastores stores;

static const char *at(const char *name)
{
    static char paths[4][200];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(at(name), 0600), 0);
}

static void make_disk(const char *path, VixDiskLibDiskType type, const char *parent, uint32_t parent_cid)
{
    struct create_params p = {.type = type,
                              .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                              .capacity = 2048,
                              .parent_hint = parent,
                              .parent_cid = parent_cid};
    assert_int_equal(vmdk_create(store_fs_local(), at(path), &p, NULL, NULL, &err), VIX_OK);
}

static uint32_t cid_of(const char *path)
{
    struct chain *c = NULL;
    assert_int_equal(chain_open(store_fs_local(), at(path), CHAIN_READ | CHAIN_SINGLE_LINK, NULL, &c, &err), VIX_OK);
    uint32_t cid = c->links[0]->desc->cid;
    assert_int_equal(chain_close(c, &err), VIX_OK);
    return cid;
}

#define GOOD_CONFIG                                                                                                    \
    "[server]\nlisten = 127.0.0.1\nport = 0\ncertificate = c.pem\nkey = /k.pem\n"                                      \
    "[limits]\nsessions = 7 ; seven\n"                                                                                 \
    "[user backup]\npassword-hash = $y$j9T$abc$def\nread-only = yes\n"                                                 \
    "[datastore datastore1]\npath = ds\nwritable = yes\n[datastore two words]\npath = ds2\n"

static int begin(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/vixdisk-daemon-XXXXXX");
    if (mkdtemp(folder) == NULL || mkdir(at("ds"), 0755) != 0 || mkdir(at("ds2"), 0755) != 0 ||
        mkdir(at("ds/vm1"), 0755) != 0 || mkdir(at("ds/base"), 0755) != 0 || mkdir(at("ds/empty"), 0755) != 0) {
        return -1;
    }
    put("good.conf", GOOD_CONFIG);
    if (host_config_load(at("good.conf"), &config, &err) != VIX_OK) {
        return -1;
    }
    return datastores_open(&config, &stores, &err) == VIX_OK ? 0 : -1;
}

static int end(void **state)
{
    char command[128];
    (void)state;
    datastores_close(&stores);
    host_config_done(&config);
    config_clear();
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void configuration_is_read(void **state)
{
    (void)state;
    assert_string_equal(config.listen, "127.0.0.1");
    assert_int_equal(config.port, 0);
    assert_int_equal(config.nfc_port, 902);
    assert_string_equal(config.certificate, at("c.pem"));
    assert_string_equal(config.key, "/k.pem");
    assert_int_equal(config.limits.sessions, 7);
    assert_int_equal(config.limits.session_idle, 1800);
    assert_int_equal(config.user_count, 1);
    assert_string_equal(config.users[0].hash, "$y$j9T$abc$def");
    assert_true(config.users[0].read_only);
    assert_int_equal(config.datastore_count, 2);
    assert_true(config.datastores[0].writable);
    assert_string_equal(config.datastores[1].name, "two words");
    assert_string_equal(config.datastores[1].path, at("ds2"));
    assert_false(config.datastores[1].writable); /* unless it is said */
}

static void bad_configurations(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "needs certificate and key"},
        {"[server]\ncertificate=c\nkey=k\n", "no [datastore NAME]"},
        {"[server]\ncertificate=c\nkey=k\n[datastore d]\nwritable=yes\n", "has no path"},
        {"[server]\ncertificate=c\nkey=k\n[datastore d]\npath=d\n[user u]\nread-only=no\n", "has no password-hash"},
        {"[server]\nport = 65536\n", "65535"},
        {"[server]\nport = 1\nport = 2\n", "once"},
        {"[server]\ncolour = red\n", "colour"},
        {"[limits]\nsessions = 0\n", "from 1 to 65536"},
        {"[limits]\nsessions = -1\n", "from 1 to 65536"},
        {"[datastore a/b]\npath = x\n", "names of"},
        {"[datastore d]\nwritable = maybe\n", "yes, no"},
        {"[server]\nnonsense\n", "line 2"},
        {"[server\n", "line 1"},
        {"[server]\nname = 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
         "123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
         "9\n",
         "line 2 has"},
    };
    struct host_config c;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put("bad.conf", bad[i].text);
        err_init(&err);
        assert_int_equal(host_config_load(at("bad.conf"), &c, &err), VIX_E_INVALID_ARG);
        if (strstr(err.text, bad[i].says) == NULL) {
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.text, bad[i].says);
        }
    }
    assert_int_equal(host_config_load(at("none.conf"), &c, &err), VIX_E_FILE_NOT_FOUND);
}

static void passwords(void **state)
{
    char *password = NULL, *second = NULL, *hash = NULL;
    struct host_user user = {.name = (char *)(uintptr_t) "u"};
    struct host_config c = {.users = &user, .user_count = 1};
    bool busy = false;

    (void)state;
    assert_int_equal(users_random_password(&password, &err), VIX_OK);
    assert_int_equal(users_random_password(&second, &err), VIX_OK);
    assert_int_equal(strlen(password), 24);
    assert_string_not_equal(password, second);
    assert_int_equal(users_hash(password, &hash, &err), VIX_OK);
    assert_int_equal(strncmp(hash, "$y$", 3), 0);
    user.hash = hash;
    assert_ptr_equal(users_check(&c, "u", password, &busy), &user);
    assert_ptr_equal(users_check(&c, "u", password, &busy), &user); /* known from now on */
    assert_null(users_check(&c, "u", second, &busy));
    assert_null(users_check(&c, "u", "", &busy));
    assert_null(users_check(&c, "v", password, &busy));
    assert_null(users_check(&c, "", "", &busy));
    static const char *const locked[] = {"!", "", "*", "x", "!$y$j9T$abc"};
    for (size_t i = 0; i < sizeof locked / sizeof locked[0]; i++) {
        user.hash = (char *)(uintptr_t)locked[i];
        assert_null(users_check(&c, "u", password, &busy));
        assert_null(users_check(&c, "u", "", &busy));
        assert_null(users_check(&c, "u", locked[i], &busy));
    }
    char *longest = calloc(1, 2000);
    memset(longest, 'x', 1999);
    user.hash = hash;
    assert_null(users_check(&c, "u", longest, &busy));
    free(longest);
    free(hash);
    free(password);
    free(second);
    assert_true(texts_are_equal_in_secret("abc", "abc"));
    assert_false(texts_are_equal_in_secret("abc", "abd"));
    assert_false(texts_are_equal_in_secret("abc", "ab"));
}

static void paths(void **state)
{
    static const struct {
        const char *text, *path;
        VixError code;
    } all[] = {
        {"[datastore1] vm1/disk.vmdk", "vm1/disk.vmdk", VIX_OK},
        {"[datastore1]vm1//disk.vmdk", "vm1/disk.vmdk", VIX_OK},
        {"[two words]   a/b/c/", "a/b/c", VIX_OK},
        {"[datastore1] ", "", VIX_OK},
        {"[datastore1]", "", VIX_OK},
        {"[datastore1] a..b/..c", "a..b/..c", VIX_OK},
        {"[datastore1] ../../etc/passwd", NULL, VIX_E_INVALID_ARG},
        {"[datastore1] vm1/../vm2/x", NULL, VIX_E_INVALID_ARG},
        {"[datastore1] vm1/..", NULL, VIX_E_INVALID_ARG},
        {"[datastore1] ./x", NULL, VIX_E_INVALID_ARG},
        {"[datastore1] /etc/passwd", NULL, VIX_E_INVALID_ARG},
        {"[datastore1] a\nb", NULL, VIX_E_INVALID_ARG},
        {"[none] x", NULL, VIX_E_FILE_NOT_FOUND},
        {"[] x", NULL, VIX_E_FILE_NOT_FOUND},
        {"[datastore1 x", NULL, VIX_E_INVALID_ARG},
        {"/etc/passwd", NULL, VIX_E_INVALID_ARG},
        {"", NULL, VIX_E_INVALID_ARG},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const struct datastore *ds = NULL;
        char *path = NULL;
        assert_int_equal(datastore_parse(&stores, all[i].text, &ds, &path, &err), all[i].code);
        if (all[i].code == VIX_OK) {
            assert_non_null(ds);
            assert_string_equal(path, all[i].path);
        } else {
            assert_null(path);
        }
        free(path);
    }
}

static void parts_of_disks(void **state)
{
    static const char *const parts[] = {"vm/x-flat.vmdk", "x-s001.vmdk",   "x-f012.vmdk",  "x-delta.vmdk",
                                        "x-ctk.vmdk",     "a-b-flat.vmdk", "x-f1000.vmdk", "x-s31000.vmdk"};
    static const char *const disks[] = {"x.vmdk", "x-000001.vmdk", "x-s1.vmdk", "x-sabc.vmdk", "flat.vmdk", "x-flat"};

    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_true(is_part_of_disk(parts[i]));
    }
    for (size_t i = 0; i < sizeof disks / sizeof disks[0]; i++) {
        assert_false(is_part_of_disk(disks[i]));
    }
}

static void machines(void **state)
{
    struct inventory inv, again, one;
    struct machine_disks disks;
    bool top = false;

    (void)state;
    assert_int_equal(config_set(CONFIG_ALLOW_OUTSIDE_PATHS, "yes", &err), VIX_OK); /* a parent in another folder */
    make_disk("ds/base/base.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, 0);
    make_disk("ds/vm1/a.vmdk", VIXDISKLIB_DISK_VMFS_FLAT, NULL, 0);
    make_disk("ds/vm1/a-000001.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "a.vmdk", cid_of("ds/vm1/a.vmdk"));
    make_disk("ds/vm1/b.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, NULL, 0);
    make_disk("ds/vm1/c.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "../base/base.vmdk", cid_of("ds/base/base.vmdk"));
    make_disk("secret.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, 0);
    make_disk("ds/vm1/out.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "../../secret.vmdk", cid_of("secret.vmdk"));
    put("ds/vm1/junk.vmdk", "junk");
    put("ds/vm1/m.vmx", "");
    put("ds/empty/readme", "");
    assert_int_equal(symlink("vm1", at("ds/linked")), 0);

    assert_int_equal(inventory_read(&stores, &inv, &err), VIX_OK);
    assert_int_equal(inventory_read(&stores, &again, &err), VIX_OK);
    assert_int_equal(inv.count, 2); /* not the empty folder, not the link */
    assert_string_equal(inv.machines[0].name, "base");
    assert_string_equal(inv.machines[0].vmx, "base/base.vmx");
    assert_string_equal(inv.machines[1].name, "vm1");
    assert_string_equal(inv.machines[1].vmx, "vm1/m.vmx");
    assert_string_equal(inv.machines[1].moref, again.machines[1].moref);
    assert_string_not_equal(inv.machines[0].moref, inv.machines[1].moref);
    assert_int_equal(inventory_find(&stores, inv.machines[1].moref, &one, &err), VIX_OK);
    assert_int_equal(inventory_find(&stores, "vm-0", &again, NULL), VIX_E_VM_NOT_FOUND);
    assert_int_equal(one.count, 1);
    assert_string_equal(one.machines[0].name, "vm1");
    assert_int_equal(machine_read_disks(&one.machines[0], &disks, &err), VIX_OK);
    assert_int_equal(disks.count, 4);
    static const char *const tops[] = {"vm1/c.vmdk", "vm1/a-000001.vmdk", "vm1/b.vmdk", "vm1/out.vmdk"}; /* by bases */
    static const char *const parents[] = {"base/base.vmdk", "vm1/a.vmdk", NULL, NULL};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(disks.disks[i].path, tops[i]);
        assert_in_range(disks.disks[i].key, INVENTORY_FIRST_KEY + 1, INVENTORY_FIRST_KEY + INVENTORY_KEYS);
        assert_int_equal(disks.disks[i].capacity, 1 << 20);
        assert_int_equal(disks.disks[i].parent_count, parents[i] != NULL ? 1 : 0);
        assert_int_equal(disks.disks[i].change_id[0] == '\0', i == 3); /* its parent cannot be had */
        if (parents[i] != NULL) {
            assert_string_equal(disks.disks[i].parents[0], parents[i]);
            assert_ptr_equal(machine_disk_of(&disks, parents[i], &top), &disks.disks[i]);
            assert_false(top);
        }
    }
    assert_ptr_equal(machine_disk_of(&disks, "vm1/b.vmdk", &top), &disks.disks[2]);
    assert_true(top);
    assert_null(machine_disk_of(&disks, "vm1/a-flat.vmdk", &top));
    assert_int_equal(strlen(disks.disks[1].uuid), 36);
    machine_disks_done(&disks);
    inventory_done(&one);
    inventory_done(&inv);
    inventory_done(&again);
}

/** The key of a disk; 0: there is none. */
static int32_t key_of(const struct machine *m, const char *path)
{
    struct machine_disks disks;
    int32_t key = 0;

    assert_int_equal(machine_read_disks(m, &disks, &err), VIX_OK);
    for (size_t i = 0; i < disks.count; i++) {
        key = strcmp(disks.disks[i].path, path) == 0 ? disks.disks[i].key : key;
    }
    machine_disks_done(&disks);
    return key;
}

/** Whatever disks and links come and go, a key is one disk's. */
static void keys_stay(void **state)
{
    struct machine m = {.ds = &stores.list[0], .name = (char[]){"keys"}};

    (void)state;
    assert_int_equal(mkdir(at("ds/keys"), 0755), 0);
    assert_int_equal(mkdir(at("ds/golden"), 0755), 0);
    make_disk("ds/golden/g.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, 0);
    make_disk("ds/keys/keys.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, 0);
    make_disk("ds/keys/b.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, 0);
    make_disk("ds/keys/clone.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "../golden/g.vmdk", cid_of("ds/golden/g.vmdk"));
    int32_t b = key_of(&m, "keys/b.vmdk"), clone = key_of(&m, "keys/clone.vmdk");
    assert_int_equal(key_of(&m, "keys/keys.vmdk"), INVENTORY_FIRST_KEY);
    assert_true(b > INVENTORY_FIRST_KEY && clone > INVENTORY_FIRST_KEY && b != clone);
    make_disk("ds/keys/a.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, 0); /* before all others */
    make_disk("ds/keys/0.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "b.vmdk", cid_of("ds/keys/b.vmdk"));
    make_disk("ds/keys/1.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "clone.vmdk", cid_of("ds/keys/clone.vmdk"));
    make_disk("ds/keys/2.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "../golden/g.vmdk", cid_of("ds/golden/g.vmdk"));
    int32_t other = key_of(&m, "keys/2.vmdk");
    assert_int_equal(key_of(&m, "keys/keys.vmdk"), INVENTORY_FIRST_KEY);
    assert_int_equal(key_of(&m, "keys/0.vmdk"), b);
    assert_int_equal(key_of(&m, "keys/1.vmdk"), clone);
    assert_true(other > INVENTORY_FIRST_KEY && other != clone && other != b);
    put("ds/keys/keys.vmdk", "damaged");
    assert_int_equal(key_of(&m, "keys/keys.vmdk"), 0);
    assert_int_equal(key_of(&m, "keys/0.vmdk"), b);
    assert_int_equal(key_of(&m, "keys/2.vmdk"), other);
    /* two children of one link: neither has the key that the other had alone */
    make_disk("ds/keys/3.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "b.vmdk", cid_of("ds/keys/b.vmdk"));
    int32_t second = key_of(&m, "keys/0.vmdk"), third = key_of(&m, "keys/3.vmdk");
    assert_true(second != third && second != b && third != b);
}

/** A system that has run out of something hides no disk: all are told, or none. */
static void failures_hide_no_disk(void **state)
{
    static const int errnums[] = {EIO, EMFILE};
    struct store_fs *faulty = store_fault_new(stores.list[0].fs, &err);
    struct datastore ds = stores.list[0];
    struct machine m = {.ds = &ds, .name = (char[]){"faulty"}};
    struct machine_disks disks;

    (void)state;
    assert_non_null(faulty);
    assert_int_equal(mkdir(at("ds/faulty"), 0755), 0);
    ds.fs = faulty;
    make_disk("ds/faulty/a.vmdk", VIXDISKLIB_DISK_VMFS_FLAT, NULL, 0);
    make_disk("ds/faulty/b.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, 0);
    make_disk("ds/faulty/c.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "b.vmdk", cid_of("ds/faulty/b.vmdk"));
    for (unsigned i = 0; i < 2; i++) {
        unsigned failed = 0;
        struct store_fault_rule rule = {.ops = FAULT_OPEN | FAULT_READ | FAULT_SIZE, .errnum = errnums[i]};
        do {
            rule.nth++;
            store_fault_set(faulty, &rule);
            VixError code = machine_read_disks(&m, &disks, &err);
            if (code == VIX_OK) {
                assert_int_equal(disks.count, 2);
                assert_string_equal(disks.disks[0].path, "faulty/a.vmdk");
                assert_string_equal(disks.disks[1].path, "faulty/c.vmdk");
                machine_disks_done(&disks);
            }
            failed += code != VIX_OK;
        } while (store_fault_has_hit(faulty));
        assert_true(failed > 4);
    }
    store_fault_free(faulty);
}

static struct ticket_scope scope_of(const char *moref)
{
    return (struct ticket_scope){.kind = TICKET_MACHINE, .ds = &stores.list[0], .moref = strdup(moref)};
}

static void tickets_are_used_once(void **state)
{
    struct tickets *t = NULL;
    struct ticket_scope scope, taken;
    char id[TICKET_ID_LEN + 1], other[TICKET_ID_LEN + 1];

    (void)state;
    assert_int_equal(tickets_new(4, 60000, &t, &err), VIX_OK);
    scope = scope_of("vm-1");
    assert_int_equal(tickets_issue(t, &scope, id, &err), VIX_OK);
    scope = scope_of("vm-2");
    assert_int_equal(tickets_issue(t, &scope, other, &err), VIX_OK);
    assert_int_equal(strlen(id), TICKET_ID_LEN);
    assert_string_not_equal(id, other);
    assert_int_equal(tickets_take(t, "", &taken, &err), VIX_E_HOST_USER_PERMISSIONS);
    assert_int_equal(tickets_take(t, id, &taken, &err), VIX_OK);
    assert_string_equal(taken.moref, "vm-1");
    ticket_scope_done(&taken);
    assert_int_equal(tickets_take(t, id, &taken, &err), VIX_E_HOST_USER_PERMISSIONS);
    for (int i = 0; i < 4; i++) { /* the oldest gives way */
        scope = scope_of("vm-3");
        assert_int_equal(tickets_issue(t, &scope, id, &err), VIX_OK);
    }
    assert_int_equal(tickets_take(t, other, &taken, &err), VIX_E_HOST_USER_PERMISSIONS);
    assert_int_equal(tickets_take(t, id, &taken, &err), VIX_OK);
    ticket_scope_done(&taken);
    tickets_free(t);
}

static void tickets_expire(void **state)
{
    struct tickets *t = NULL;
    struct ticket_scope scope = scope_of("vm-1"), taken;
    char id[TICKET_ID_LEN + 1];

    (void)state;
    assert_int_equal(tickets_new(2, 20, &t, &err), VIX_OK);
    assert_int_equal(tickets_issue(t, &scope, id, &err), VIX_OK);
    (void)usleep(40000);
    assert_int_equal(tickets_take(t, id, &taken, &err), VIX_E_HOST_USER_PERMISSIONS);
    tickets_free(t);
}

static void sessions_come_and_go(void **state)
{
    struct sessions *s = NULL;
    struct session a, b, c;

    (void)state;
    assert_int_equal(sessions_new(2, 60000, &s, &err), VIX_OK);
    assert_int_equal(session_begin(s, &config.users[0], &a, &err), VIX_OK);
    assert_int_equal(session_begin(s, &config.users[0], &b, &err), VIX_OK);
    assert_int_equal(session_begin(s, &config.users[0], &c, &err), VIX_E_OBJECT_IS_BUSY);
    assert_int_equal(strlen(a.token), SESSION_TOKEN_LEN);
    assert_string_not_equal(a.token, b.token);
    assert_true(session_find(s, a.token, &c));
    assert_ptr_equal(c.user, &config.users[0]);
    assert_false(session_find(s, "", &c));
    session_end(s, a.token);
    assert_false(session_find(s, a.token, &c));
    assert_int_equal(session_begin(s, &config.users[0], &a, &err), VIX_OK);
    sessions_free(s);
    assert_int_equal(sessions_new(1, 30, &s, &err), VIX_OK);
    assert_int_equal(session_begin(s, &config.users[0], &a, &err), VIX_OK);
    (void)usleep(60000);
    assert_false(session_find(s, a.token, &c));
    assert_int_equal(session_begin(s, &config.users[0], &a, &err), VIX_OK);
    sessions_free(s);
}

static void views_and_tasks(void **state)
{
    struct sessions *s = NULL;
    struct session a;
    struct session_view view = {.type = "VirtualMachine", .container = "ha-folder-root"}, seen;
    struct session_task task = {.name = "create", .fault = "FileFault"}, done;

    (void)state;
    assert_int_equal(sessions_new(2, 60000, &s, &err), VIX_OK);
    assert_int_equal(session_begin(s, &config.users[0], &a, &err), VIX_OK);
    for (unsigned i = 1; i <= SESSION_VIEWS_MAX + 1; i++) {
        assert_true(session_add_view(s, a.token, &view));
        assert_int_equal(view.number, i);
    }
    assert_false(session_get_view(s, a.token, 1, &seen));
    assert_false(session_get_view(s, a.token, 0, &seen));
    assert_true(session_get_view(s, a.token, 2, &seen));
    assert_string_equal(seen.type, "VirtualMachine");
    session_remove_view(s, a.token, 2);
    assert_false(session_get_view(s, a.token, 2, &seen));
    assert_true(session_add_task(s, a.token, &task));
    assert_true(session_get_task(s, a.token, task.number, &done));
    assert_string_equal(done.fault, "FileFault");
    assert_false(session_get_task(s, a.token, task.number + SESSION_TASKS_MAX, &done));
    assert_false(session_add_task(s, "", &task));
    sessions_free(s);
}

static void listings(void **state)
{
    static char large[SESSION_LISTING_BYTES + 1];
    struct sessions *s = NULL;
    struct session one;
    unsigned first, number = 0;
    char *text = NULL;
    size_t len, next;

    (void)state;
    memset(large, 'x', sizeof large);
    assert_int_equal(sessions_new(2, 60000, &s, &err), VIX_OK);
    assert_int_equal(session_begin(s, &config.users[0], &one, &err), VIX_OK);
    assert_false(session_add_listing(s, "none", "abc", 3, 1, &number));
    assert_false(session_add_listing(s, one.token, large, sizeof large, 1, &number));
    assert_true(session_add_listing(s, one.token, "abcd", 3, 7, &first));
    assert_false(session_take_listing(s, one.token, first + 1, &text, &len, &next));
    assert_false(session_take_listing(s, one.token, 0, &text, &len, &next));
    assert_true(session_take_listing(s, one.token, first, &text, &len, &next));
    assert_string_equal(text, "abc");
    assert_int_equal(len, 3);
    assert_int_equal(next, 7);
    free(text);
    assert_false(session_take_listing(s, one.token, first, &text, &len, &next));
    assert_true(session_add_listing(s, one.token, "abc", 3, 1, &first));
    for (size_t i = 0; i < SESSION_LISTINGS_MAX; i++) {
        assert_true(session_add_listing(s, one.token, large, SESSION_LISTING_BYTES, i, &number));
    }
    assert_false(session_take_listing(s, one.token, first, &text, &len, &next)); /* the oldest went */
    sessions_free(s);
}

static void knobs(void **state)
{
    static const char *const wrong[] = {
        "",         "nothing", "version", "version=", "version=x", "delay-ms=-1", "cut-at=4294967296", "no-version=1",
        "no-versio"};
    struct nfc_test_knobs k = {0};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(knobs_set(&k, wrong[i], &err), VIX_E_INVALID_ARG);
    }
    k = (struct nfc_test_knobs){0};
    assert_int_equal(knobs_set(&k, "no-version", &err), VIX_OK);
    assert_int_equal(knobs_set(&k, "cut-at=4294967295", &err), VIX_OK);
    assert_int_equal(knobs_set(&k, "version=7", &err), VIX_OK);
    assert_true(k.no_version && !k.no_ssl_word);
    assert_int_equal(k.cut_at, 4294967295u);
    assert_int_equal(k.version, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_is_read),
        cmocka_unit_test(bad_configurations),
        cmocka_unit_test(passwords),
        cmocka_unit_test(paths),
        cmocka_unit_test(parts_of_disks),
        cmocka_unit_test(machines),
        cmocka_unit_test(keys_stay),
        cmocka_unit_test(failures_hide_no_disk),
        cmocka_unit_test(tickets_are_used_once),
        cmocka_unit_test(tickets_expire),
        cmocka_unit_test(sessions_come_and_go),
        cmocka_unit_test(views_and_tasks),
        cmocka_unit_test(listings),
        cmocka_unit_test(knobs),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
