package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// remembered holds the keys of recently verified pairs.
type remembered struct {
	mu   sync.RWMutex
	ends map[[sha256.Size]byte]time.Time
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

// add remembers a key. If there are too many, it drops the expired ones, or else any.
func (r *remembered) add(key [sha256.Size]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.ends == nil {
		r.ends = map[[sha256.Size]byte]time.Time{}
	}
	if len(r.ends) >= maxRemembered {
		for k, end := range r.ends {
			if !now.Before(end) {
				delete(r.ends, k)
			}
		}
		for k := range r.ends {
			if len(r.ends) < maxRemembered {
				break
			}
			delete(r.ends, k)
		}
	}
	r.ends[key] = now.Add(rememberFor)
}
