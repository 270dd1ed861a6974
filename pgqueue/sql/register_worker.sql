-- Makes a worker known: a new identity at every boot.
-- By: a worker at its start. Locks: its own new row.
insert into pgqueue.workers (
    name, hostname, pid, version, queues, concurrency, threads, children, ttl
)
values (
    %(name)s, %(hostname)s, %(pid)s, %(version)s, %(queues)s, %(concurrency)s, %(threads)s,
    %(children)s, make_interval(secs => %(ttl)s)
)
returning id
