/* Which keys libfido2 finds: see `Host::finds_keys`. It asks udev and the kernel, who know nothing of the keys of a Desk,
 * which are terminals. How one is opened and spoken to is libfido2's own. */
#include <glob.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* As libfido2's fido.h has them; of the functions only an address is wanted. */
typedef struct fido_dev_info fido_dev_info_t;
struct functions {
    void *functions[4];
};
int fido_dev_info_set(fido_dev_info_t *, size_t, const char *, const char *, const char *, const struct functions *,
                      const struct functions *);

int fido_dev_info_manifest(fido_dev_info_t *list, size_t room, size_t *found) {
    static const struct functions unused;
    char node[64];
    glob_t devices;
    *found = 0;
    if (glob("/sys/class/hidraw/hidraw*", 0, NULL, &devices) == 0) {
        for (size_t n = 0; n < devices.gl_pathc && *found < room; n++) {
            snprintf(node, sizeof node, "/dev/%s", strrchr(devices.gl_pathv[n], '/') + 1);
            if (fido_dev_info_set(list, *found, node, "tests", "key", &unused, &unused) == 0)
                ++*found;
        }
        globfree(&devices);
    }
    return 0;
}
