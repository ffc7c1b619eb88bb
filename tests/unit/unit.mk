# Unit tests that are made of more than one file.
$(B)/tests/unit/rpc/server_test $(B)/tests/unit/rpc/stream_test $(B)/tests/unit/rpc/client_test: $(B)/tests/unit/rpc/rig.o
$(B)/tests/unit/rpc/stream_test: $(B)/tests/unit/rpc/raw.o
# sluicectl is tested from outside.
$(filter $(B)/tests/unit/sluicectl/%,$(UNITS)): | $(filter %/sluicectl,$(BINS))
