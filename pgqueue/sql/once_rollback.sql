-- By: once, after a claim that waited in vain; its time limit ends with the savepoint.
rollback to savepoint pgqueue_once
