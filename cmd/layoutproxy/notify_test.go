package main

import (
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// serviceManager listens on a notification socket, as systemd does. next waits for the next
// notification and returns it.
func serviceManager(t *testing.T) (socket string, next func() string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return socket, func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		datagram := make([]byte, 1024)
		n, err := conn.Read(datagram)
		if err != nil {
			t.Fatalf("reading a notification: got the error %v, want a notification", err)
		}
		return string(datagram[:n])
	}
}

func TestServiceManagerNotifications(t *testing.T) {
	socket, next := serviceManager(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	dir := t.TempDir()
	layouttest.New(t, dir).Layout("app").Write()
	p := start(t, dir)
	if got := next(); got != "READY=1" {
		t.Fatalf("got the notification %q, want READY=1", got)
	}
	for _, url := range []string{"http://" + p.addresses["registry"] + "/v2/", "http://" + p.addresses["admin"] + "/readyz"} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatalf("request for %s after READY=1: got the error %v, want 200", url, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("request for %s after READY=1: got %s, want 200", url, resp.Status)
		}
	}
	p.signal(t, syscall.SIGHUP)
	for _, want := range []string{"RELOADING=1", "READY=1"} {
		if got := next(); got != want {
			t.Fatalf("got the notification %q after SIGHUP, want %q", got, want)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if got := next(); got != "STOPPING=1" {
		t.Errorf("got the notification %q after SIGTERM, want STOPPING=1", got)
	}
	if err := <-p.ended; err != nil {
		t.Errorf("the server ended with %v, want exit status 0", err)
	}
}

// If the service manager does not answer, the server works as usual.
func TestServerRunsWithoutAnswerOfServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	dir := t.TempDir()
	layouttest.New(t, dir).Layout("app").Write()
	p := start(t, dir)
	resp, err := http.Get("http://" + p.addresses["registry"] + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	p.signal(t, syscall.SIGTERM)
	if err := <-p.ended; err != nil {
		t.Errorf("the server ended with %v, want exit status 0", err)
	}
}
