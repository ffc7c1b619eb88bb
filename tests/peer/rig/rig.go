// SPDX-License-Identifier: Apache-2.0

// Package rig runs the real sluiced on a captured host, for tests in Go. $SLUICE_BIN has the programs.
package rig

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/tests/peer/kubelet"
)

const (
	// Soon is generous: the tests share a machine, and the programs are built with sanitizers.
	Soon = 20 * time.Second
	// Head opens every configuration.
	Head = "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\n"
)

// Rig is one life of sluiced.
type Rig struct {
	T          testing.TB
	Dir        string           // everything of this life is below
	KubeletDir string           // kubelet's directory
	K          *kubelet.Kubelet // the stand-in; nil = none yet
	cmd        *exec.Cmd
}

// Start runs sluiced on capture, a file; a stand-in for kubelet is there before it. The end of the test checks how it ends.
func Start(t testing.TB, capture, config string, withKubelet bool) *Rig {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sluice-peer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &Rig{T: t, Dir: dir, KubeletDir: filepath.Join(dir, "kubelet")}
	if err := os.MkdirAll(filepath.Join(r.KubeletDir, "plugins_registry"), 0o750); err != nil {
		t.Fatal(err)
	}
	if withKubelet {
		if r.K, err = kubelet.Start(r.KubeletDir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	bin := os.Getenv("SLUICE_BIN")
	if bin == "" {
		t.Fatal("SLUICE_BIN is not set: run the tests by their make verb")
	}
	r.cmd = exec.Command(filepath.Join(bin, "sluiced"), "--kubelet-dir", r.KubeletDir, "--state-dir", filepath.Join(dir, "state"),
		"--run-dir", filepath.Join(dir, "run"), "--config", filepath.Join(dir, "config.yaml"), "--host", capture)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.end)
	return r
}

// Host is the directory that has the host's sys, proc and dev.
func (r *Rig) Host() string { return filepath.Join(r.Dir, "run", "sim") }

func (r *Rig) end() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- r.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			r.T.Errorf("sluiced ended with %v", err)
		}
	case <-time.After(Soon):
		_ = r.cmd.Process.Kill()
		r.T.Error("sluiced did not end")
	}
	if r.K != nil {
		r.K.Stop()
	}
	log, _ := os.ReadFile(filepath.Join(r.Dir, "log"))
	if text := string(log); r.T.Failed() || strings.Contains(text, "Sanitizer") || strings.Contains(text, "runtime error:") {
		r.T.Errorf("the log:\n%s", text)
	}
	left, _ := filepath.Glob(filepath.Join(r.KubeletDir, "*", "*.sock"))
	for _, path := range left {
		if filepath.Base(path) != "kubelet.sock" {
			r.T.Errorf("%s is left", path)
		}
	}
}

// Ready waits until resource is listed with that many healthy devices.
func (r *Rig) Ready(resource string, healthy int) *kubelet.Plugin {
	r.T.Helper()
	p, err := r.K.WaitHealthy(resource, healthy, Soon)
	if err != nil {
		r.T.Fatal(err)
	}
	return p
}

// Context ends Soon.
func (r *Rig) Context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Soon)
	r.T.Cleanup(cancel)
	return ctx
}
