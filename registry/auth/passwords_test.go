package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"
	"go.uber.org/zap"
)

func TestPairsAreRememberedAsHashes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("ann:"+hash(t, "a")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := newPasswords(file, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	login := func(name, password string) error {
		req := httptest.NewRequest("GET", "/v2/", nil)
		req.SetBasicAuth(name, password)
		_, err := p.Authorized(req)
		return err
	}
	if err := login("ann", "a"); err != nil {
		t.Fatal(err)
	}
	var challenge auth.Challenge
	for _, wrong := range [][2]string{{"ann", "b"}, {"eve", "a"}, {"", ""}} {
		if err := login(wrong[0], wrong[1]); !errors.As(err, &challenge) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if n := len(p.remembered.ends); n != 1 {
		t.Errorf("%d pairs are remembered, want only the one with the right password", n)
	}
	// A remembered pair is accepted even while all slots are taken.
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	if err := login("ann", "a"); err != nil {
		t.Errorf("a remembered pair got the error %v while all slots were taken, want success", err)
	}
	// At most maxWaiting of the unknown clients wait. The others get errBusy.
	const flood = 2 * maxWaiting
	var clients sync.WaitGroup
	busy := make(chan error, flood)
	for i := range flood {
		clients.Go(func() { busy <- login("eve", string(binary.BigEndian.AppendUint32(nil, uint32(i)))) })
	}
	for range flood - maxWaiting {
		if err := <-busy; !errors.Is(err, errBusy) {
			t.Errorf("got error %v, want errBusy", err)
		}
	}
	for range cap(p.slots) {
		<-p.slots
	}
	clients.Wait()
	for range maxWaiting {
		if err := <-busy; !errors.As(err, &challenge) {
			t.Errorf("got error %v, want a challenge", err)
		}
	}
}

func TestRememberedPairsAreLimitedAndExpire(t *testing.T) {
	var r remembered
	key := func(i uint32) (k [sha256.Size]byte) {
		binary.BigEndian.PutUint32(k[:], i)
		return k
	}
	const keys = maxRemembered + 200
	for i := range uint32(keys) {
		r.add(key(i))
		if !r.contains(key(i)) {
			t.Fatalf("key %d is not remembered, want it remembered", i)
		}
		if len(r.ends) > maxRemembered {
			t.Fatalf("%d keys are remembered, want at most %d", len(r.ends), maxRemembered)
		}
	}
	last := key(keys - 1)
	r.ends[last] = time.Now().Add(-time.Second)
	if r.contains(last) {
		t.Error("a key is remembered after it expired, want it forgotten")
	}
}
