module example.org/readdisk

go 1.19
