/* SPDX-License-Identifier: BSD-3-Clause */
/* Passwords through libcrypt. Its memory is wiped after each use. */
#include "daemon/users.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
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
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    SCOPED_LOCK(&one_at_a_time);
    const char *found = crypt_r(password, hash, data);

    return found != NULL && found[0] != '*' && texts_are_equal_in_secret(found, hash);
}

const struct host_user *users_check(const struct host_config *config, const char *name, const char *password)
{
    const struct host_user *user = NULL;
    struct crypt_data *data = alloc_zero(sizeof *data, NULL);

    for (size_t i = 0; i < config->user_count; i++) {
        if (strcmp(config->users[i].name, name) == 0) {
            user = &config->users[i];
        }
    }
    if (data == NULL) {
        return NULL;
    }
    bool fits = strlen(password) <= PASSWORD_MAX && hash_fits(user != NULL ? user->hash : NOBODYS_HASH, password, data);
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
