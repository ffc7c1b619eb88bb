# Unit tests that are made of more than one file.
$(B)/tests/unit/rpc/rpc_test $(B)/tests/unit/rpc/server_test $(B)/tests/unit/rpc/stream_test $(B)/tests/unit/rpc/client_test: $(B)/tests/unit/rpc/rig.o
$(B)/tests/unit/rpc/stream_test $(B)/tests/unit/rpc/server_test: $(B)/tests/unit/rpc/raw.o
# Programs that are run.
$(filter $(B)/tests/unit/sluicectl/%,$(UNITS)): | $(filter %/sluicectl,$(BINS))
$(B)/tests/unit/docs/man_test: | $(BINS)
KUBELET_STAGE := $(addprefix $(B)/tests/unit/,kubelet/stage.o kubelet/stand_ins.o rpc/raw.o)
$(addprefix $(B)/tests/unit/kubelet/,registrar_test serve_test list_test watcher_test podresources_test): $(KUBELET_STAGE)
