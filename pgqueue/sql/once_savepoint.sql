-- By: once, in the job's own transaction, before its claim: a wait in vain must not abort that.
savepoint pgqueue_once
