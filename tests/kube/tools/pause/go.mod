module pondage.io/tests/pause

go 1.26
