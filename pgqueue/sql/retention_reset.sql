-- Takes back what an operator has set: the next start of a worker writes what its app says.
-- By: an operator. Locks: the row.
delete from pgqueue.retention
where task = %(task)s and state = %(state)s and set_by = 'operator'
returning task
