/* A backend that costs next to nothing: one thread, epoll, prepared answers.
 *
 *   server PORT FOLDER
 *
 * FOLDER has one file for each answer, named after the method, or after the tool of a `tools/call`; the first "@ID@"
 * in it becomes the id of the request:
 *
 *   NAME.json   an answer with Content-Length
 *   NAME.sse    events, each written by itself as one chunk, after which the stream ends
 *   NAME.hold   the same, but the stream stays open
 *   NAME.head   further header lines of that answer; the first "@N@" in them becomes a number that counts up
 *
 * A GET gets GET.hold, a message without id 202, what has no file the answer of `search`.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWERS = 64, EVENTS = 256, FIRST = 4096, DESCRIPTORS = 1 << 16 };

struct answer {
    char name[128], kind[8];
    char *before, *after, *head; /* what stands before and after the id */
    size_t before_size, after_size;
};

struct connection {
    char *in, *out;
    size_t in_size, in_room, out_size, out_sent, out_room;
    int descriptor;
};

static struct answer answers[ANSWERS];
static int answer_count;
static struct connection *connections[DESCRIPTORS];

static char *file(const char *folder, const char *name, size_t *size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *in = fopen(path, "rb");
    if (!in) return NULL;
    fseek(in, 0, SEEK_END);
    *size = (size_t)ftell(in);
    rewind(in);
    char *text = malloc(*size + 1);
    if (fread(text, 1, *size, in) != *size) exit(2);
    text[*size] = 0;
    fclose(in);
    return text;
}

static void load(const char *folder) {
    DIR *files = opendir(folder);
    if (!files) exit(2);
    for (struct dirent *each; (each = readdir(files)) && answer_count < ANSWERS;) {
        char *dot = strrchr(each->d_name, '.');
        if (!dot || each->d_name[0] == '.' || !strcmp(dot, ".head")) continue;
        struct answer *made = &answers[answer_count++];
        size_t size;
        snprintf(made->name, sizeof made->name, "%.*s", (int)(dot - each->d_name), each->d_name);
        snprintf(made->kind, sizeof made->kind, "%s", dot + 1);
        made->before = file(folder, each->d_name, &size);
        char *id = memmem(made->before, size, "@ID@", 4);
        made->before_size = id ? (size_t)(id - made->before) : size;
        made->after = id ? id + 4 : made->before + size;
        made->after_size = size - (size_t)(made->after - made->before);
        char head[160];
        snprintf(head, sizeof head, "%s.head", made->name);
        made->head = file(folder, head, &size);
        if (!made->head) made->head = strdup("");
    }
    closedir(files);
}

static struct answer *find(const char *name, size_t size) {
    for (int each = 0; each < answer_count; each++)
        if (strlen(answers[each].name) == size && !memcmp(answers[each].name, name, size)) return &answers[each];
    return NULL;
}

/* The raw value of the first member with this name, without the quotes of a string if `bare`. */
static const char *member(const char *text, size_t size, const char *name, int bare, size_t *length) {
    const char *end = text + size, *at = memmem(text, size, name, strlen(name));
    *length = 0;
    if (!at) return NULL;
    at += strlen(name);
    while (at < end && (*at == ' ' || *at == ':')) at++;
    const char *from = at;
    if (at < end && *at == '"') {
        const char *close = memchr(at + 1, '"', (size_t)(end - at - 1));
        if (!close) return NULL;
        *length = bare ? (size_t)(close - at - 1) : (size_t)(close - at + 1);
        return bare ? at + 1 : at;
    }
    while (at < end && *at != ',' && *at != '}' && *at != ' ') at++;
    *length = (size_t)(at - from);
    return from;
}

static void put(struct connection *to, const char *text, size_t size) {
    if (to->out_size + size > to->out_room) {
        to->out_room = (to->out_size + size) * 2;
        to->out = realloc(to->out, to->out_room);
    }
    memcpy(to->out + to->out_size, text, size);
    to->out_size += size;
}

static int flush(struct connection *to) {
    while (to->out_sent < to->out_size) {
        ssize_t sent = write(to->descriptor, to->out + to->out_sent, to->out_size - to->out_sent);
        if (sent < 0) return 0;
        to->out_sent += (size_t)sent;
    }
    to->out_size = to->out_sent = 0;
    if (to->out_room > (1 << 16)) free(to->out), to->out = NULL, to->out_room = 0;
    return 1;
}

static void put_events(struct connection *to, const char *text, size_t size) {
    char line[32];
    while (size) {
        const char *end = memmem(text, size, "\n\n", 2);
        size_t one = end ? (size_t)(end + 2 - text) : size;
        put(to, line, (size_t)snprintf(line, sizeof line, "%zx\r\n", one));
        put(to, text, one);
        put(to, "\r\n", 2);
        text += one, size -= one;
        if (size) flush(to);
    }
}

static void answer(struct connection *to, struct answer *with, const char *id, size_t id_size) {
    static unsigned long count;
    char head[256];
    size_t size = with->before_size + id_size + with->after_size;
    put(to, "HTTP/1.1 200 OK\r\n", 17);
    char *number = strstr(with->head, "@N@");
    if (number) {
        put(to, with->head, (size_t)(number - with->head));
        put(to, head, (size_t)snprintf(head, sizeof head, "%lu", ++count));
        put(to, number + 3, strlen(number + 3));
    } else put(to, with->head, strlen(with->head));
    if (!strcmp(with->kind, "json")) {
        static const char line[] = "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n";
        put(to, head, (size_t)snprintf(head, sizeof head, line, size));
        put(to, with->before, with->before_size);
        put(to, id, id_size);
        put(to, with->after, with->after_size);
        return;
    }
    static const char stream[] = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    put(to, stream, sizeof stream - 1);
    char *events = malloc(size);
    memcpy(events, with->before, with->before_size);
    if (id_size) memcpy(events + with->before_size, id, id_size);
    memcpy(events + with->before_size + id_size, with->after, with->after_size);
    put_events(to, events, size);
    free(events);
    if (strcmp(with->kind, "hold")) put(to, "0\r\n\r\n", 5);
}

static void respond(struct connection *to, const char *head, const char *body, size_t size) {
    size_t method_size, id_size, name_size;
    if (!strncmp(head, "GET", 3)) {
        struct answer *held = find("GET", 3);
        if (held) answer(to, held, "", 0);
        else put(to, "HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n", 38);
        return;
    }
    const char *method = member(body, size, "\"method\"", 1, &method_size);
    const char *id = member(body, size, "\"id\"", 0, &id_size);
    if (!id || !method) {
        put(to, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 44);
        return;
    }
    struct answer *found = NULL;
    if (method_size == 10 && !memcmp(method, "tools/call", 10)) {
        const char *name = member(body, size, "\"name\"", 1, &name_size);
        if (name) found = find(name, name_size);
    } else {
        char flat[128];
        size_t length = method_size < sizeof flat ? method_size : sizeof flat - 1;
        for (size_t each = 0; each < length; each++) flat[each] = method[each] == '/' ? '_' : method[each];
        found = find(flat, length);
    }
    if (!found) found = find("search", 6);
    answer(to, found, id, id_size);
}

static size_t content_length(const char *head, const char *end) {
    for (const char *line = head; line < end;) {
        if (!strncasecmp(line, "content-length:", 15)) return (size_t)strtoul(line + 15, NULL, 10);
        line = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!line) break;
        line += 2;
    }
    return 0;
}

/* The size of the request at the front once it is whole, else 0. Peers that send chunked requests send one chunk. */
static size_t take(struct connection *from, const char **body, size_t *size) {
    char *end = memmem(from->in, from->in_size, "\r\n\r\n", 4);
    if (!end) return 0;
    *body = end + 4;
    size_t here = from->in_size - (size_t)(*body - from->in);
    if (memmem(from->in, (size_t)(end - from->in), "chunked", 7)) {
        char *last = memmem(*body, here, "0\r\n\r\n", 5);
        if (!last) return 0;
        *size = (size_t)(last - *body);
        return (size_t)(last + 5 - from->in);
    }
    *size = content_length(from->in, end);
    return here < *size ? 0 : (size_t)(*body + *size - from->in);
}

static void drop(int descriptor) {
    struct connection *gone = connections[descriptor];
    connections[descriptor] = NULL;
    close(descriptor);
    free(gone->in), free(gone->out), free(gone);
}

static void readable(int descriptor) {
    struct connection *from = connections[descriptor];
    for (;;) {
        if (from->in_room - from->in_size < FIRST) {
            from->in_room = from->in_room ? from->in_room * 2 : 2 * FIRST;
            from->in = realloc(from->in, from->in_room + 1);
        }
        ssize_t got = read(descriptor, from->in + from->in_size, from->in_room - from->in_size);
        if (got == 0 || (got < 0 && errno != EAGAIN)) { drop(descriptor); return; }
        if (got < 0) break;
        from->in_size += (size_t)got;
        if (from->in_size < from->in_room) break;
    }
    const char *body;
    for (size_t size, whole; from->in_size && (whole = take(from, &body, &size)) > 0;) {
        respond(from, from->in, body, size);
        from->in_size -= whole;
        memmove(from->in, from->in + whole, from->in_size);
    }
    flush(from);
}

static int listening(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) exit(3);
    return listener;
}

static void accepted(int poll, int listener) {
    int on = 1;
    for (int descriptor; (descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (descriptor >= DESCRIPTORS) { close(descriptor); continue; }
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[descriptor] = calloc(1, sizeof(struct connection));
        connections[descriptor]->descriptor = descriptor;
        struct epoll_event wanted = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = descriptor};
        epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &wanted);
    }
}

int main(int count, char **words) {
    if (count != 3) return 2;
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN); /* proxies may leave while an answer is written */
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    load(words[2]);
    int poll = epoll_create1(0), listener = listening(atoi(words[1]));
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int each = 0; each < ready; each++) {
            int descriptor = events[each].data.fd;
            if (descriptor == listener) { accepted(poll, listener); continue; }
            if (events[each].events & EPOLLOUT && connections[descriptor]) flush(connections[descriptor]);
            if (events[each].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && connections[descriptor]) readable(descriptor);
        }
    }
}
