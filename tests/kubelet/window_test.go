// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bindOnly makes a socket that has a name and does not listen: what a starting kubelet's is for a moment. connect() is refused.
func bindOnly(t *testing.T, path string) (fd int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// A try to register, as sluiced's log at level debug has it, and how it goes on.
var (
	aTry = regexp.MustCompile(`(?m)^(\S+) debug sluiced: \S+: Register number \d+, `)
	wait = regexp.MustCompile(`(?m)^\S+ debug sluiced: \S+: trying again in (\d+) ms: `)
)

func tries(t *testing.T, log string) (at []time.Time, waits []int) {
	t.Helper()
	for _, m := range aTry.FindAllStringSubmatch(log, -1) {
		when, err := time.Parse("2006-01-02T15:04:05.000Z", m[1])
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, when)
	}
	for _, m := range wait.FindAllStringSubmatch(log, -1) {
		var ms int
		_, _ = fmt.Sscan(m[1], &ms)
		waits = append(waits, ms)
	}
	return at, waits
}

// Where a restarted kubelet is found late, this is why: its socket is there before it listens. The first retry comes at once, the
// second after at most 10 ms: that is what the daemon decides, and it is exact. That it acts on it, and not at some slow poll's turn, shows
// in the quickest of many rounds, on a machine that may be busy.
func TestTheWindowBeforeListenIsRetriedQuickly(t *testing.T) {
	const rounds = 10
	n := newNode(t, "l40s-8-vfio", noRules)
	if err := os.MkdirAll(devicePlugins, 0o750); err != nil {
		t.Fatal(err)
	}
	n.startDaemon()
	waitFor(t, func() string { return "sluiced" }, func() bool { return strings.Contains(n.d.said(), "kubelet is not there yet") })
	first, second := make([]time.Duration, 0, rounds), make([]time.Duration, 0, rounds)
	for range rounds {
		before := len(n.d.said())
		var at []time.Time
		var waits []int
		fd := bindOnly(t, kubeletSocket)
		waitFor(t, func() string { return fmt.Sprintf("4 tries: %v", at) }, func() bool {
			at, waits = tries(t, n.d.said()[before:])
			return len(at) >= 4
		})
		if waits[0] > 10 || waits[1] > 20 {
			t.Errorf("after the first retry it waits %v ms", waits)
		}
		first, second = append(first, at[1].Sub(at[0])), append(second, at[2].Sub(at[1]))
		if err := syscall.Listen(fd, 16); err != nil {
			t.Fatal(err)
		}
		accept(t, fd)
		if err := os.Remove(kubeletSocket); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // it has seen that
	}
	slices.Sort(first)
	slices.Sort(second)
	say("%s: retried after %v, then after %v", t.Name(), first, second)
	if first[0] > 100*time.Millisecond || second[0] > 100*time.Millisecond {
		t.Errorf("retried after %v, then after %v", first, second)
	}
	n.startKubelet()
	n.has(l40s, 8, 8)
}

// accept waits for the connection of a further try, and takes it down.
func accept(t *testing.T, fd int) {
	t.Helper()
	file := os.NewFile(uintptr(fd), kubeletSocket)
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = listener.(*net.UnixListener).SetDeadline(time.Now().Add(soon))
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
