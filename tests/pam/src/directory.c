/* The name service of the tests: see directory.rs. It has one group, dirgroup; every name that begins with dir and does
 * not end in "other" is in it. A name in capitals is another spelling of a user of /etc/passwd. Whatever is asked of it
 * otherwise it does not know. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATE "/run/mfa-test-directory"

static enum nss_status state(const char *name, int *errnop) {
    char word[16] = "";
    if (strncasecmp(name, "dir", 3) != 0) {
        *errnop = ENOENT;
        return NSS_STATUS_NOTFOUND;
    }
    /* A FIFO makes whoever asks wait until somebody writes. */
    FILE *file = fopen(STATE, "re");
    if (file) {
        if (!fgets(word, sizeof word, file))
            word[0] = 0;
        fclose(file);
    }
    if (!strcmp(word, "up"))
        return NSS_STATUS_SUCCESS;
    *errnop = !strcmp(word, "refused") ? ECONNREFUSED : !strcmp(word, "gone") ? ENOENT : !strcmp(word, "io") ? EIO : EAGAIN;
    if (!strcmp(word, "unknown")) {
        *errnop = ENOENT;
        return NSS_STATUS_NOTFOUND;
    }
    return *errnop == EAGAIN ? NSS_STATUS_TRYAGAIN : NSS_STATUS_UNAVAIL;
}

enum nss_status _nss_mfatest_getpwnam_r(const char *name, struct passwd *result, char *buffer, size_t length, int *errnop) {
    char lower[64];
    size_t n = strlen(name);
    enum nss_status status = state(name, errnop);
    if (status != NSS_STATUS_SUCCESS)
        return status;
    if (islower((unsigned char)name[0]) || n >= sizeof lower) {
        *errnop = ENOENT;
        return NSS_STATUS_NOTFOUND;
    }
    for (size_t i = 0; i <= n; i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    FILE *file = fopen("/etc/passwd", "re");
    struct passwd *entry = NULL;
    int found = 0;
    while (file && (found = fgetpwent_r(file, result, buffer, length, &entry)) == 0)
        if (!strcmp(entry->pw_name, lower))
            break;
    if (file)
        fclose(file);
    if (file && found == 0)
        return NSS_STATUS_SUCCESS;
    *errnop = found == ERANGE ? ERANGE : ENOENT;
    return found == ERANGE ? NSS_STATUS_TRYAGAIN : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_mfatest_getgrnam_r(const char *name, struct group *result, char *buffer, size_t length, int *errnop) {
    static char *nobody[] = {NULL};
    enum nss_status status = state(name, errnop);
    if (status != NSS_STATUS_SUCCESS)
        return status;
    if (strcmp(name, "dirgroup")) {
        *errnop = ENOENT;
        return NSS_STATUS_NOTFOUND;
    }
    if (length < 16) {
        *errnop = ERANGE;
        return NSS_STATUS_TRYAGAIN;
    }
    result->gr_name = strcpy(buffer, "dirgroup");
    result->gr_passwd = buffer + 8;
    result->gr_gid = 70001;
    /* As sssd with ignore_group_members. */
    result->gr_mem = nobody;
    return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_mfatest_initgroups_dyn(const char *user, gid_t group, long *start, long *size, gid_t **groups,
                                            long limit, int *errnop) {
    size_t n = strlen(user);
    enum nss_status status = state(user, errnop);
    (void)group;
    (void)limit;
    if (status != NSS_STATUS_SUCCESS || (n > 5 && !strcmp(user + n - 5, "other")))
        return status;
    /* glibc starts with room for more than the one. */
    if (*start < *size)
        (*groups)[(*start)++] = 70001;
    return NSS_STATUS_SUCCESS;
}
