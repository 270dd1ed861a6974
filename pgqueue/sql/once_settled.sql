-- By: once, in the job's own transaction, after its claim.
release savepoint pgqueue_once
