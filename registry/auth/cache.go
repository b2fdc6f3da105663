package auth

import (
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

// remembered holds a key for each pair of name and password that was verified recently.
type remembered struct {
	mu   sync.RWMutex
	ends map[[sha256.Size]byte]time.Time // the time when each key expires
}

const (
	rememberFor   = time.Minute
	maxRemembered = 4096
)

func (r *remembered) contains(key [sha256.Size]byte) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return time.Now().Before(r.ends[key])
}

// add remembers a key. If there are too many keys, it first drops the expired ones, then
// arbitrary ones.
func (r *remembered) add(key [sha256.Size]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.ends == nil {
		r.ends = map[[sha256.Size]byte]time.Time{}
	}
	if len(r.ends) >= maxRemembered {
		maps.DeleteFunc(r.ends, func(_ [sha256.Size]byte, end time.Time) bool { return !now.Before(end) })
		for k := range r.ends {
			if len(r.ends) < maxRemembered {
				break
			}
			delete(r.ends, k)
		}
	}
	r.ends[key] = now.Add(rememberFor)
}
