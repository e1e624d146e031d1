/* SPDX-License-Identifier: BSD-3-Clause */
/* vim_int.h - what the files of src/vim share: the session, a call and its reply, properties of managed objects. */
#ifndef VIXDISK_VIM_VIM_INT_H
#define VIXDISK_VIM_VIM_INT_H

#include <pthread.h>

#include "soap/soap.h"
#include "vim/http.h"
#include "vim/vim.h"

/** The managed objects that the service content names. */
enum vim_service {
    VIM_ROOT_FOLDER,
    VIM_PROPERTY_COLLECTOR,
    VIM_VIEW_MANAGER,
    VIM_SESSION_MANAGER,
    VIM_AUTHORIZATION_MANAGER,
    VIM_SEARCH_INDEX,
    VIM_FILE_MANAGER,
    VIM_VIRTUAL_DISK_MANAGER,
    VIM_SERVICE_COUNT,
};

struct vim_session {
    pthread_mutex_t lock; /* calls run one after another: what follows it */
    struct http *http;
    char soap_action[40]; /* "urn:vim25/6.5" with the quotes */
    bool logged_in;       /* by us, so it is ours to log out */
    uint64_t last_call_ns;
    char *nfc_service; /* reference, once it is known */
    /* from here on fixed after login */
    char *user, *password; /* NULL: somebody else's session */
    char *host;
    char *vmx_spec; /* of the machine that it is for; NULL */
    unsigned call_timeout_ms;
    bool is_vcenter;
    struct vim_about about;
    char *services[VIM_SERVICE_COUNT]; /* references; NULL where the server has none */
};

/* ---- calls (call.c) ---- */

/** A call that is being written. */
struct vim_call {
    struct xml_text text; /* for the arguments */
    const char *method;
    bool changes;      /* not to be sent twice */
    bool secret;       /* has a password in it */
    bool before_login; /* is part of logging in: never the occasion of another login */
};

/** An answer. */
struct vim_reply {
    struct xml_doc *doc;
    const struct xml_node *response; /* NULL: a fault */
    const struct xml_node *fault;    /* the detail's element, or NULL */
    char fault_type[64];             /* "" if there is none */
};

/** Begins a call on a managed object; arguments go into the call's text. */
struct vim_call vim_call_begin(const char *method, const char *this_type, const char *this_value);
/** The same on one of the services; VIX_E_NOT_SUPPORTED if the server has none of this kind. */
VixError vim_call_service(struct vim_session *s, const char *method, enum vim_service service,
                          struct vim_call *ret_call, struct err *err);

/** Sends a call, whose text is wiped and freed, and reads the answer. A session of ours that has ended is renewed once.
 * For a fault the code of soap_fault_code and the server's sentence; *ret_reply then has the fault, and is to be freed
 * in either case. An answer that keeps properties back because of NotAuthenticated counts as that fault. */
VixError vim_call_do(struct vim_session *s, struct vim_call *call, struct vim_reply *ret_reply, struct err *err);
/** The same for who holds the session's lock. */
VixError vim_call_locked(struct vim_session *s, struct vim_call *call, struct vim_reply *ret_reply, struct err *err);
void vim_reply_free(struct vim_reply *reply);

/** A call of which only success matters. */
VixError vim_call_plain(struct vim_session *s, struct vim_call *call, struct err *err);
/** A call whose returnval is a text or a reference; NULL in *ret_text if there is none. @want_type: type of the
 * reference, or NULL: any. Another type counts as none. */
VixError vim_call_text(struct vim_session *s, struct vim_call *call, const char *want_type, char **ret_text,
                       struct err *err);

/** Logs in anew with the password; the session's lock is held (session.c). */
VixError vim_login_locked(struct vim_session *s, struct err *err);

/** The name of a service's managed object in the service content. */
const char *vim_service_member(enum vim_service service);

/** Text of a server on one line, without what could disturb a log or a terminal; cut to size. */
void vim_plain_text(const char *text, char *ret_text, size_t size);

/* ---- properties (property.c) ---- */

/** Some properties of one object. *ret_object: the <objects> element inside reply, NULL if the server has none. */
VixError vim_properties(struct vim_session *s, const char *type, const char *value, const char *const *paths,
                        size_t path_count, struct vim_reply *ret_reply, const struct xml_node **ret_object,
                        struct err *err);

/** Called for each object; a failure ends the walk. */
typedef VixError vim_object_func(void *user, const struct xml_node *object, struct err *err);
/** Some properties of all objects of a type, in the whole inventory. */
VixError vim_all_objects(struct vim_session *s, const char *type, const char *const *paths, size_t path_count,
                         vim_object_func *each, void *user, struct err *err);

/** The value of a property in an <objects> element; NULL if it is not there. */
const struct xml_node *vim_property(const struct xml_node *object, const char *path);
const char *vim_property_text(const struct xml_node *object, const char *path);
/** Why the server kept a property back: the fault's type, or NULL. */
const char *vim_property_missing(const struct xml_node *object, const char *path);

/* ---- further ---- */

/** Runs a call that gives a task, and waits for its end (task.c), also if the server cannot be reached for a while:
 * after some minutes of that the failure is its code, and the sentence names the task, which may go on. @ret_result
 * NULL, or where the text of the task's result goes, the caller's; NULL there if it has none. */
VixError vim_call_task(struct vim_session *s, struct vim_call *call, char **ret_result, struct err *err);

/** The reference of a service that only the internal content names, "nfcService" (ticket.c); NULL in *ret_service if
 * the server does not tell it. */
VixError vim_internal_service(struct vim_session *s, const char *member, char **ret_service, struct err *err);

/** Fills vm from an <objects> element (vm.c). */
VixError vim_vm_fill(struct vim_vm *vm, const struct xml_node *object, struct err *err);
void vim_vm_clear(struct vim_vm *vm);
/** What vim_vm_fill needs. */
extern const char *const vim_vm_paths[];
extern const size_t vim_vm_path_count;

/** The list of a machine's devices, of the machine or of a snapshot (vm.c): the property's value inside reply. */
VixError vim_devices(struct vim_session *s, const char *type, const char *value, struct vim_reply *ret_reply,
                     const struct xml_node **ret_devices, struct err *err);

/** The datacenter that has a datastore, and the datastore (find.c). @ret_datacenter NULL: not wanted. */
VixError vim_datastore_place(struct vim_session *s, const char *name, char **ret_datastore, char **ret_datacenter,
                             struct err *err);

/** Parts of "[ds] dir/x.vmdk" (path.c). */
struct vim_path {
    char *datastore;
    char *file; /* runs of / folded, none in front */
};
VixError vim_path_parse(const char *text, struct vim_path *ret_path, struct err *err);
void vim_path_free(struct vim_path *path);

/** A copy of a server's text: NULL for NULL; false if there is no memory. */
bool vim_copy_text(const char *text, char **ret_copy, struct err *err);
/** A copy of a name with %2f %5c %25 as what they stand for. */
bool vim_copy_name(const char *text, char **ret_copy, struct err *err);

#endif
