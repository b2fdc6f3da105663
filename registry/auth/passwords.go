package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync/atomic"

	"github.com/distribution/distribution/v3/registry/auth"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"

	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// passwords is an access controller that checks names and passwords against an htpasswd file.
type passwords struct {
	users      *reload.Value[users]
	secret     [32]byte // part of the key of each remembered pair, so that only this process can compute that key
	remembered remembered

	// Bcrypt is slow by design, and any client can cause it to run. So concurrent requests with
	// the same pair share one verification, and only a few verifications run at a time. Requests
	// with remembered pairs do not wait.
	verifying singleflight.Group
	slots     chan struct{}
	waiting   atomic.Int64
}

// maxWaiting limits how many verifications run or wait.
const maxWaiting = 64

// errBusy means that too many passwords are waiting to be verified.
var errBusy = errors.New("too many passwords are being verified: try again later")

func newPasswords(file string, log *zap.Logger) (*passwords, error) {
	p := &passwords{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	if _, err := rand.Read(p.secret[:]); err != nil {
		return nil, err
	}
	var err error
	p.users, err = watch(log, []string{file}, func() (users, error) {
		u, err := readUsers(file)
		if err == nil && len(u.hashes) == 0 {
			log.Warn("the htpasswd file has no users: nobody can log in", zap.String("file", file))
		}
		return u, err
	})
	return p, err
}

// Authorized grants access if the request has the name and the password of a user. The error is a
// challenge, errBusy or the context's error.
func (p *passwords) Authorized(req *http.Request, _ ...auth.Access) (*auth.Grant, error) {
	name, password, ok := req.BasicAuth()
	if !ok {
		return nil, basicChallenge{auth.ErrInvalidCredential}
	}
	hash, known := p.users.Get().hashOf(name)
	key := p.key(name, password, hash)
	if known && p.remembered.contains(key) {
		return &auth.Grant{User: auth.UserInfo{Name: name}}, nil
	}
	verified := p.verifying.DoChan(string(key[:]), func() (any, error) { return nil, p.verify(hash, password) })
	select {
	case v := <-verified:
		switch {
		case errors.Is(v.Err, errBusy):
			return nil, v.Err
		case v.Err != nil || !known:
			return nil, basicChallenge{auth.ErrAuthenticationFailure}
		}
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	p.remembered.add(key)
	return &auth.Grant{User: auth.UserInfo{Name: name}}, nil
}

// key returns the key under which a verified pair is remembered. The key includes the hash, so a
// new hash invalidates it. Without the secret of this process, nobody can compute the key.
func (p *passwords) key(name, password string, hash []byte) [sha256.Size]byte {
	b := make([]byte, 0, 256)
	b = append(b, p.secret[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(name)))
	b = append(b, name...)
	b = append(b, hash...) // bcrypt hashes all have the same size
	return sha256.Sum256(append(b, password...))
}

// verify waits for a free slot, and then compares a password with a hash.
func (p *passwords) verify(hash []byte, password string) error {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting {
		return errBusy
	}
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	return bcrypt.CompareHashAndPassword(hash, []byte(password))
}

// basicChallenge asks the client for a name and a password.
type basicChallenge struct{ error }

// SetHeaders adds the challenge for Basic authentication (RFC 7617, section 2).
func (c basicChallenge) SetHeaders(_ *http.Request, w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", "layoutproxy"))
}
