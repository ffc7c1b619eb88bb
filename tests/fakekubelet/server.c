/* SPDX-License-Identifier: Apache-2.0 */
/* Kubelet's lives and its Registration service (path A). */
#include "fk_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "deviceplugin.pb-c.h"

enum { CODE_OK = 0, CODE_UNKNOWN = 2, CODE_UNAVAILABLE = 14 };

/* Names */

static bool name_part_ok(const char *s, size_t max)
{
        size_t n = strlen(s);

        if (n < 1 || n > max)
                return false;
        for (size_t i = 0; i < n; i++) {
                bool alnum = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z');
                bool inner = i > 0 && i + 1 < n && (s[i] == '-' || s[i] == '_' || s[i] == '.');
                if (!alnum && !inner)
                        return false;
        }
        return true;
}

static bool prefix_ok(const char *s, size_t n)
{
        if (n < 1 || n > 253 - strlen("requests."))
                return false;
        for (size_t i = 0; i < n; i++) {
                bool alnum = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'z');
                bool edge = i == 0 || i + 1 == n || s[i - 1] == '.' || s[i + 1] == '.';
                if (!alnum && (edge || (s[i] != '-' && s[i] != '.')))
                        return false;
        }
        return true;
}

static bool resource_name_ok(const char *name)
{
        const char *slash = strchr(name, '/');

        return slash && !strchr(slash + 1, '/') && !strstr(name, "kubernetes.io/") && !str_has_prefix(name, "requests.") &&
               prefix_ok(name, (size_t)(slash - name)) && name_part_ok(slash + 1, 63);
}

/* Register */

static bool refuse_scripted(struct fk *k, const char *resource, int *ret_code, char text[FK_TEXT_MAX])
{
        bool refused = false;

        fk_lock(k);
        for (struct fk_refusal *r = k->refusals; r && !refused; r = r->next) {
                if (r->times == 0 || (r->resource && !streq(r->resource, resource)))
                        continue;
                r->times--;
                *ret_code = r->code;
                str_format(text, FK_TEXT_MAX, "%s", r->text);
                refused = true;
        }
        fk_unlock(k);
        return refused;
}

/* CODE_OK: *ret is a connected client whose stream is to be started. */
static int register_one(struct fk_instance *in, const V1beta1__RegisterRequest *rq, int64_t until_ms, struct fk_client **ret,
                        char text[FK_TEXT_MAX])
{
        struct fk *k = in->k;
        char path[256];
        int code;

        str_format(path, sizeof(path), "%s/%s", k->plugins, rq->endpoint);
        if (refuse_scripted(k, rq->resource_name, &code, text)) {
                if (str_has_prefix(text, "failed to"))
                        fk_client_forget(k, rq->resource_name, path);
                return code;
        }
        if (!streq(rq->version, "v1beta1")) {
                str_format(text, FK_TEXT_MAX,
                           "requested API version \"%s\" is not supported by kubelet. Supported version is [\"v1beta1\"]", rq->version);
                return CODE_UNKNOWN;
        }
        if (!resource_name_ok(rq->resource_name)) {
                str_format(text, FK_TEXT_MAX, "the ResourceName \"%s\" is invalid", rq->resource_name);
                return CODE_UNKNOWN;
        }
        return fk_client_connect(k, in->number, rq->resource_name, path, until_ms, ret, text) ? CODE_OK : CODE_UNKNOWN;
}

/* Locked. Waits as long as kubelet is told to hold here; false: it died meanwhile and this call with it. */
static bool held(struct fk_instance *in, enum fk_hold where)
{
        struct fk *k = in->k;

        if (k->hold != where)
                return !in->dead;
        in->held++;
        k->held++;
        unsigned ticket = ++k->tickets;
        pthread_cond_broadcast(&k->changed);
        while (k->hold == where && ticket > k->let_go && !(in->dead && where == FK_HOLD_ENTRY))
                pthread_cond_wait(&k->changed, &k->mu);
        in->held--;
        k->held--;
        return !in->dead || where == FK_HOLD_REPLY;
}

static void register_finish(struct fk_instance *in, struct wire_request *request, struct fk_client *c, int code, const char *text)
{
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;
        struct fk *k = in->k;

        fk_lock(k);
        enum fk_order order = k->order;
        fk_unlock(k);
        if (c && order != FK_ORDER_REPLY_FIRST)
                fk_client_start(c, order == FK_ORDER_LIST_FIRST);
        fk_lock(k);
        bool answer = held(in, FK_HOLD_REPLY);
        fk_unlock(k);
        if (code == CODE_OK && answer)
                wire_reply(request, &empty.base);
        else
                wire_refuse(request, answer ? code : CODE_UNAVAILABLE, answer ? text : "transport is closing");
        if (c && order == FK_ORDER_REPLY_FIRST)
                fk_client_start(c, false);
}

static void on_register(void *ctx, struct wire_request *request)
{
        struct fk_instance *in = ctx;
        struct fk *k = in->k;
        const struct wire_bytes *bytes = wire_request_bytes(request);
        V1beta1__RegisterRequest *rq = v1beta1__register_request__unpack(NULL, bytes->n, bytes->data);
        struct fk_client *c = NULL;
        char text[FK_TEXT_MAX] = "";

        fk_lock(k);
        bool alive = !in->dead;
        k->n_registers += alive;
        pthread_cond_broadcast(&k->changed);
        alive = alive && held(in, FK_HOLD_ENTRY);
        fk_unlock(k);
        if (!alive || !rq) {
                wire_refuse(request, CODE_UNAVAILABLE, "transport is closing");
        } else {
                fk_say(k, "Register %s at %s", rq->resource_name, rq->endpoint);
                int code = register_one(in, rq, wire_request_until_ms(request), &c, text);
                register_finish(in, request, c, code, text);
        }
        if (rq)
                v1beta1__register_request__free_unpacked(rq, NULL);
}

static const struct wire_method methods[] = { { "/v1beta1.Registration/Register", on_register } };

/* Lives */

/* A directory entry goes when kubelet starts: every file but the checkpoint, or sockets only. */
static void wipe_dir(const char *path, bool all)
{
        DIR *dir = opendir(path);

        for (struct dirent *e; dir && (e = readdir(dir));) {
                char file[512];
                struct stat st;
                str_format(file, sizeof(file), "%s/%s", path, e->d_name);
                if (lstat(file, &st) < 0 || S_ISDIR(st.st_mode) || streq(e->d_name, "kubelet_internal_checkpoint"))
                        continue;
                if (all || S_ISSOCK(st.st_mode))
                        (void)unlink(file);
        }
        if (dir)
                (void)closedir(dir);
}

void fk_wipe(struct fk *k)
{
        wipe_dir(k->plugins, k->profile->wipe_all);
}

bool fk_up(struct fk *k, unsigned refuse_ms)
{
        struct fk_instance *in = xcalloc(1, sizeof(*in));

        if (!k->no_wipe)
                fk_wipe(k);
        fk_lock(k);
        fk_checkpoint(k);
        in->k = k;
        in->number = ++k->lives;
        k->instance = in->number;
        fk_unlock(k);
        in->server = wire_server_new(k->socket, refuse_ms, methods, N_ELEMENTS(methods), in);
        if (!in->server) {
                int error = errno;
                k->instance = 0;
                free(in);
                errno = error;
                return false;
        }
        if (!fk_pods_start(in)) {
                int error = errno;
                k->instance = 0;
                wire_server_free(in->server);
                free(in);
                errno = error;
                return false;
        }
        k->now = in;
        fk_say(k, "up, life %u", in->number);
        fk_watcher_start(k);
        return true;
}

void fk_down(struct fk *k)
{
        struct fk_instance *in = k->now;

        if (!in)
                return;
        fk_watcher_stop(k);
        fk_lock(k);
        fk_say(k, "down");
        in->dead = true;
        k->instance = 0;
        k->now = NULL;
        fk_clients_cut(k);
        bool linger = in->held > 0 && k->hold == FK_HOLD_REPLY;
        if (linger) {
                in->next = k->lingering;
                k->lingering = in;
        }
        fk_unlock(k);
        fk_pods_stop(in);
        if (linger) {
                wire_server_mute(in->server);
                return;
        }
        wire_server_kill(in->server);
        wire_server_free(in->server);
        free(in);
}

bool fk_restart(struct fk *k, unsigned refuse_ms)
{
        fk_down(k);
        return fk_up(k, refuse_ms);
}

void fk_hold(struct fk *k, enum fk_hold hold)
{
        fk_lock(k);
        k->hold = hold;
        fk_unlock(k);
}

unsigned fk_held(struct fk *k)
{
        pthread_mutex_lock(&k->mu);
        unsigned n = k->held;
        pthread_mutex_unlock(&k->mu);
        return n;
}

static bool none_held(struct fk *k, void *ctx)
{
        const struct fk_instance *in = ctx;

        (void)k;
        return in->held == 0;
}

void fk_release_one(struct fk *k)
{
        fk_lock(k);
        k->let_go++;
        fk_unlock(k);
}

void fk_release(struct fk *k)
{
        fk_hold(k, FK_HOLD_NONE);
        for (struct fk_instance *in; (in = k->lingering);) {
                (void)fk_wait(k, 60000, none_held, in);
                k->lingering = in->next;
                wire_server_drain(in->server); /* the answers are out; only then are the connections cut */
                wire_server_free(in->server);
                free(in);
        }
}

void fk_refuse(struct fk *k, const char *resource, int code, const char *text, unsigned times)
{
        struct fk_refusal *r = xcalloc(1, sizeof(*r));

        *r = (struct fk_refusal){ .resource = resource ? xstrdup(resource) : NULL, .code = code, .text = xstrdup(text), .times = times };
        fk_lock(k);
        r->next = k->refusals;
        k->refusals = r;
        fk_unlock(k);
}

static bool make_dir(char *out, size_t size, const char *dir, const char *name)
{
        str_format(out, size, "%s/%s", dir, name);
        return mkdir(out, 0750) == 0 || errno == EEXIST;
}

struct fk *fk_new(const char *dir, const struct fk_profile *profile)
{
        struct fk *k = xcalloc(1, sizeof(*k));
        pthread_mutexattr_t recursive;
        pthread_condattr_t monotonic;

        *k = (struct fk){
                .profile = profile, .dial_ms = 10000, .grace_ms = 300000, .backoff_ms = 500, .seed = 1, .message_max = WIRE_MESSAGE_MAX
        };
        if (!str_copy(k->dir, sizeof(k->dir), dir) || !make_dir(k->plugins, sizeof(k->plugins), dir, "device-plugins") ||
            !make_dir(k->registry, sizeof(k->registry), dir, "plugins_registry") ||
            !make_dir(k->pods_dir, sizeof(k->pods_dir), dir, "pod-resources")) {
                int error = errno ? errno : ENAMETOOLONG;
                free(k);
                errno = error;
                return NULL;
        }
        str_format(k->socket, sizeof(k->socket), "%s/kubelet.sock", k->plugins);
        str_format(k->pods_socket, sizeof(k->pods_socket), "%s/kubelet.sock", k->pods_dir);
        (void)pthread_mutexattr_init(&recursive);
        (void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
        (void)pthread_mutex_init(&k->mu, &recursive);
        (void)pthread_mutexattr_destroy(&recursive);
        (void)pthread_condattr_init(&monotonic);
        (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&k->changed, &monotonic);
        (void)pthread_condattr_destroy(&monotonic);
        k->trace = getenv("FK_TRACE") != NULL;
        wire_init();
        return k;
}

struct fk *fk_start(const char *dir, const struct fk_profile *profile)
{
        struct fk *k = fk_new(dir, profile);

        if (k && !fk_up(k, 0)) {
                int error = errno;
                (void)fk_stop(k);
                errno = error;
                return NULL;
        }
        return k;
}

static bool no_threads(struct fk *k, void *ctx)
{
        (void)ctx;
        return k->n_threads == 0;
}

static void resources_free(struct fk *k)
{
        for (struct fk_resource *r; (r = k->resources);) {
                k->resources = r->next;
                if (r->endpoint)
                        fk_client_unref(r->endpoint);
                idset_done(&r->allocated);
                free(r->devices);
                free(r->list);
                free(r);
        }
}

static void refusals_free(struct fk *k)
{
        for (struct fk_refusal *r; (r = k->refusals);) {
                k->refusals = r->next;
                free(r->resource);
                free(r->text);
                free(r);
        }
}

bool fk_stop(struct fk *k)
{
        if (!k)
                return true;
        fk_hold(k, FK_HOLD_NONE);
        fk_down(k);
        fk_release(k);
        (void)fk_wait(k, 60000, no_threads, NULL);
        bool ok = k->crash[0] == '\0';
        fk_records_done(k);
        fk_pods_done(k);
        resources_free(k);
        refusals_free(k);
        (void)unlink(k->socket);
        (void)unlink(k->pods_socket);
        (void)pthread_mutex_destroy(&k->mu);
        (void)pthread_cond_destroy(&k->changed);
        free(k);
        wire_done();
        return ok;
}
