// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	nodeDir = "/var/lib/node" // of sluiced and its simulated host: in memory
	simDir  = nodeDir + "/run/sim"
)

// daemon is one sluiced process. A second one on the same directories is its successor.
type daemon struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  string
	over bool
}

var starts int

func program(t *testing.T, name string) string {
	dir := os.Getenv("SLUICE_BIN")
	if dir == "" {
		t.Fatal("SLUICE_BIN is not set: run `make test-kubelet`")
	}
	return filepath.Join(dir, name)
}

// startDaemon starts sluiced on a captured host, or on the simulated one that a killed predecessor left.
func startDaemon(t *testing.T, name, host, config string) *daemon {
	t.Helper()
	if err := os.MkdirAll(nodeDir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeConfig(t, config)
	starts++
	d := &daemon{t: t, log: fmt.Sprintf("%s/log.%d", nodeDir, starts)}
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command(program(t, name), "--kubelet-dir", kubeletDir, "--state-dir", nodeDir+"/state", "--run-dir", nodeDir+"/run",
		"--config", nodeDir+"/config.yaml", "--host", filepath.Join("..", "fixtures", "hosts", host+".capture"), "--sim-dir", simDir,
		"--log-level", "debug")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.end)
	return d
}

// writeConfig replaces the configuration as a whole, as a ConfigMap is; a running daemon reads it by itself.
func writeConfig(t *testing.T, config string) {
	t.Helper()
	next := nodeDir + "/config.next"
	if err := os.WriteFile(next, []byte(configHead+config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, nodeDir+"/config.yaml"); err != nil {
		t.Fatal(err)
	}
}

var bad = regexp.MustCompile(`Sanitizer|runtime error:|assertion failed|Assertion .`)

// end asks it to, once: it ends with status 0, its log is free of a sanitizer's words, no socket of its own is left.
func (d *daemon) end() {
	if d.over {
		return
	}
	d.over = true
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(soon, func() { _ = d.cmd.Process.Kill() })
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("sluiced ended with %v", err)
	}
	late.Stop()
	for _, dir := range []string{devicePlugins, registry, kubeletDir + "/plugins/sluice"} {
		left, _ := filepath.Glob(dir + "/sluice-*")
		if len(left) != 0 {
			d.t.Errorf("left: %v", left)
		}
	}
	d.check()
}

// kill -9
func (d *daemon) kill() {
	d.over = true
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
	d.check()
}

func (d *daemon) check() {
	d.t.Helper()
	if bad.MatchString(d.said()) {
		d.t.Error("the log has a finding")
	}
}

func (d *daemon) said() string {
	text, _ := os.ReadFile(d.log)
	return string(text)
}

// sim lets the outside world act on the simulated host: see sluicectl-sim in docs/simulation.md.
func sim(t *testing.T, words ...string) {
	t.Helper()
	out, err := exec.Command(program(t, "sluicectl"), append([]string{"sim", "--sim-dir", simDir}, words...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("sluicectl sim %s: %v: %s", strings.Join(words, " "), err, out)
	}
}

// driver is what a function of the simulated host is bound to; "" is nothing.
func driver(bdf string) string {
	target, err := os.Readlink(simDir + "/sys/bus/pci/devices/" + bdf + "/driver")
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}
