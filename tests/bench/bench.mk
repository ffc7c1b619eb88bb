# The bench: a release sluiced, the stand-in kubelet, made-up hosts. `make bench PEER=/path/to/binary` measures a peer beside it.
BENCH_O := $(addprefix $(B)/tests/bench/,bench.o subject.o host.o)
$(BENCH_O): CPPFLAGS += -Itests/fakekubelet -Itests/bench
$(B)/tests/bench/bench: $(BENCH_O) $(B)/libfakekubelet.a $(B)/libsluice.a $(STATIC_LIBS)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$(filter-out $(STATIC_LIBS),$^)) $(LIBS) $(QUIET_LD)
$(B)/bin/canned: $(B)/tests/bench/canned.o
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $<
# The Go client where Go is new enough; without it its rows say "not measured".
run-bench: $(B)/tests/bench/bench $(B)/bin/canned $(B)/bin/hands_bench $(BINS)
	@go version 2>/dev/null | grep -qE 'go1\.(2[6-9]|[3-9][0-9])' && $(MAKE) FLAVOUR=$(FLAVOUR) $(B)/bin/go-bench || true
	@mkdir -p build && tests/bench/guest.sh $(B)/bin/hands_bench build/bench.others
	@$(B)/tests/bench/bench $(B)/bin "$(PEER)" build/bench.others | tee build/bench.md
	@tests/bench/save.sh build/bench.md docs/benchmarks.md
.PHONY: run-bench
