package registry_test

import (
	"context"
	"net"
	"net/http"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestSmallBlobsArriveInOnePacket(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{100, 4000} {
		dir := t.TempDir()
		l := layouttest.New(t, dir).Layout("app")
		l.Tag(l.Image(layouttest.Image{LayerSizes: []int64{size}}), "v1")
		l.Write()
		path := "/v2/app/blobs/sha256:" + largest(t, l.Dir(), size)
		s := serveBare(t, dir)
		var conn *net.TCPConn
		s.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			conn, _ = c.(*net.TCPConn)
			return c, err
		}
		s.get(path).wantStatus(t, http.StatusOK)
		fewest := uint32(1 << 30)
		for range 20 { // Linux holds packets back for a limited time only, so a busy machine may need several tries.
			before := segmentsIn(t, conn)
			s.get(path).wantStatus(t, http.StatusOK)
			fewest = min(fewest, segmentsIn(t, conn)-before)
		}
		if fewest != 1 {
			t.Errorf("a blob of %d bytes arrived in at least %d packets, want 1", size, fewest)
		}
	}
}

// segmentsIn returns how many packets with data have arrived over a connection so far.
func segmentsIn(t *testing.T, conn *net.TCPConn) (n uint32) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Error(err)
			return
		}
		n = info.Data_segs_in
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
