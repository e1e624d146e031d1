/* SPDX-License-Identifier: BSD-3-Clause */
/* Passwords through libcrypt. Its memory is wiped after each use. */
#include "daemon/users.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/cleanup.h"

#define RANDOM_PASSWORD_LEN 24u

/* Checked in the place of a user that does not exist: the hash of nothing, of yescrypt's usual cost. */
#define NOBODYS_HASH "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0.WiB9W.zEaKlOBL35rC"

VixError random_bytes(void *buf, size_t len, struct err *err)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = getrandom((char *)buf + done, len - done, 0);
        if (n < 0 && errno != EINTR) {
            return err_set_errno(err, errno, "cannot get random bytes");
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return VIX_OK;
}

bool texts_are_equal_in_secret(const char *a, const char *b)
{
    size_t len = strlen(a);
    volatile unsigned char differs = 0;

    if (strlen(b) != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        differs = (unsigned char)(differs | (a[i] ^ b[i]));
    }
    return differs == 0;
}

static bool hash_fits(const char *hash, const char *password, struct crypt_data *data)
{
    const char *found = crypt_r(password, hash, data);
    return found != NULL && found[0] != '*' && texts_are_equal_in_secret(found, hash);
}

/* ---- passwords that were right before ---- */

/** A backup logs in for each disk, and a good hash takes a tenth of a second. A password that was right gets a second,
 * quick hash with a salt of its own, which lives in memory only. */
struct known {
    char of[CRYPT_OUTPUT_SIZE]; /* the hash in the configuration; "": free */
    char hash[CRYPT_OUTPUT_SIZE];
};

#define KNOWN_MAX 64u                /* limit: logins whose hash is remembered */
#define QUICK_HASH "$5$rounds=1000$" /* SHA-256, the fewest rounds that there are: half a millisecond */

static struct known known[KNOWN_MAX];
static unsigned next_known;
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_known(const struct host_user *user, const char *password, struct crypt_data *data)
{
    char hash[CRYPT_OUTPUT_SIZE] = "";

    {
        SCOPED_LOCK(&known_lock);
        for (unsigned i = 0; user != NULL && i < KNOWN_MAX; i++) {
            if (user->hash[0] != '\0' && strcmp(known[i].of, user->hash) == 0) {
                memcpy(hash, known[i].hash, sizeof hash);
            }
        }
    }
    bool fits = hash[0] != '\0' && hash_fits(hash, password, data);
    explicit_bzero(hash, sizeof hash);
    return fits;
}

static void remember(const struct host_user *user, const char *password, struct crypt_data *data)
{
    unsigned char random[8];
    char setting[sizeof QUICK_HASH + 2 * sizeof random] = QUICK_HASH;

    if (random_bytes(random, sizeof random, NULL) != VIX_OK) {
        return;
    }
    for (unsigned i = 0; i < sizeof random; i++) {
        (void)snprintf(setting + strlen(QUICK_HASH) + 2 * i, 3, "%02x", random[i]);
    }
    const char *hash = crypt_r(password, setting, data);
    if (hash == NULL || hash[0] == '*') {
        return;
    }
    SCOPED_LOCK(&known_lock);
    unsigned place = next_known;
    for (unsigned i = 0; i < KNOWN_MAX; i++) {
        place = strcmp(known[i].of, user->hash) == 0 ? i : place;
    }
    next_known = place == next_known ? (next_known + 1) % KNOWN_MAX : next_known;
    (void)snprintf(known[place].of, sizeof known[place].of, "%s", user->hash);
    (void)snprintf(known[place].hash, sizeof known[place].hash, "%s", hash);
}

/* ---- passwords ---- */

#define WAITING_MAX 32u /* limit: checks of passwords that wait their turn */

/** In turn, so that a flood of wrong passwords takes one core; those that would wait for long are turned away. */
static bool fits_in_turn(const char *hash, const char *password, struct crypt_data *data, bool *ret_busy)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    static atomic_uint waiting;
    bool fits = false;

    *ret_busy = atomic_fetch_add(&waiting, 1) >= WAITING_MAX;
    if (!*ret_busy) {
        SCOPED_LOCK(&one_at_a_time);
        fits = hash_fits(hash, password, data);
    }
    atomic_fetch_sub(&waiting, 1);
    return fits;
}

const struct host_user *users_check(const struct host_config *config, const char *name, const char *password,
                                    bool *ret_busy)
{
    const struct host_user *user = NULL;
    struct crypt_data *data = alloc_zero(sizeof *data, NULL);

    for (size_t i = 0; i < config->user_count; i++) {
        if (strcmp(config->users[i].name, name) == 0) {
            user = &config->users[i];
        }
    }
    *ret_busy = data == NULL;
    if (data == NULL) {
        return NULL;
    }
    bool fits = strlen(password) <= PASSWORD_MAX && is_known(user, password, data);
    if (!fits && strlen(password) <= PASSWORD_MAX) {
        fits = fits_in_turn(user != NULL ? user->hash : NOBODYS_HASH, password, data, ret_busy) && user != NULL;
        if (fits) {
            remember(user, password, data);
        }
    }
    explicit_bzero(data, sizeof *data);
    free(data);
    return fits ? user : NULL;
}

VixError users_hash(const char *password, char **ret_hash, struct err *err)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *data = alloc_zero(sizeof *data, err);

    if (data == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = VIX_OK;
    char *copy = NULL;
    const char *hash = NULL;
    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting) != NULL) {
        hash = crypt_r(password, setting, data);
    }
    if (hash == NULL || hash[0] == '*') {
        code = err_set_errno(err, errno, "cannot make the hash of a password");
    } else {
        copy = alloc_text(hash, err);
        code = copy != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    explicit_bzero(data, sizeof *data);
    free(data);
    if (code == VIX_OK) {
        *ret_hash = copy;
    }
    return code;
}

VixError users_random_password(char **ret_password, struct err *err)
{
    static const char letters[] = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789-_.+=@%"; /* 64 */
    unsigned char bytes[RANDOM_PASSWORD_LEN];

    _Static_assert(sizeof letters - 1 == 64, "each letter as likely as the other");
    VixError code = random_bytes(bytes, sizeof bytes, err);
    char *password = code == VIX_OK ? alloc_zero(RANDOM_PASSWORD_LEN + 1, err) : NULL;
    if (password == NULL) {
        return code != VIX_OK ? code : VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < RANDOM_PASSWORD_LEN; i++) {
        password[i] = letters[bytes[i] % 64];
    }
    explicit_bzero(bytes, sizeof bytes);
    *ret_password = password;
    return VIX_OK;
}
