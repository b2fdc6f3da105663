package auth

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// users contains the users of an htpasswd file.
type users struct {
	// hashes maps each user's name to a bcrypt hash.
	hashes map[string][]byte
	// dummy is the hash that the passwords of unknown users are compared with. So the response time
	// does not reveal which users exist.
	dummy []byte
}

// hashOf returns the hash against which to check the password of the user with this name. For an
// unknown user, that is a dummy hash.
func (u users) hashOf(name string) (hash []byte, known bool) {
	if hash, known = u.hashes[name]; known {
		return hash, true
	}
	return u.dummy, false
}

const (
	// maxHtpasswd is the maximum size of an htpasswd file, in bytes.
	maxHtpasswd = 4 << 20
	// maxCost is the highest accepted bcrypt cost. A login at this cost takes seconds, and each
	// further step would double that time.
	maxCost  = 15
	hashSize = 60
)

func readUsers(file string) (users, error) {
	data, err := plainfile.Read(file, maxHtpasswd)
	if err != nil {
		return users{}, fmt.Errorf("credentials: %w", err)
	}
	u, err := parseUsers(data)
	if err != nil {
		return users{}, fmt.Errorf("credentials of %s: %w", file, err)
	}
	return u, nil
}

// parseUsers reads lines of the form USER:HASH. It skips empty lines and comments. One invalid
// line makes the file invalid. Errors name the line but do not quote it.
func parseUsers(data []byte) (users, error) {
	u := users{hashes: map[string][]byte{}}
	cost := bcrypt.MinCost
	scanner := bufio.NewScanner(bytes.NewReader(data))
	n := 1
	for ; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		c, err := checkHash(hash)
		switch {
		case name == "" || hash == "":
			err = errors.New("not USER:HASH")
		case err == nil && u.hashes[name] != nil:
			err = errors.New("duplicate user")
		}
		if err != nil {
			return users{}, fmt.Errorf("line %d: %w", n, err)
		}
		u.hashes[name] = []byte(hash)
		cost = max(cost, c)
	}
	if scanner.Err() != nil {
		return users{}, fmt.Errorf("line %d: longer than %d bytes", n, bufio.MaxScanTokenSize)
	}
	u.dummy = fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat("A", 53))
	return u, nil
}

// checkHash returns the cost of a bcrypt hash. It rejects a malformed or too expensive hash.
func checkHash(hash string) (cost int, err error) {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	version, _, _ := strings.Cut(strings.TrimPrefix(hash, "$"), "$")
	if version != "2a" && version != "2b" && version != "2y" {
		return 0, errors.New("not a bcrypt hash: create it with htpasswd -B")
	}
	if len(hash) != hashSize || strings.Trim(hash[7:], alphabet) != "" {
		return 0, errors.New("truncated bcrypt hash")
	}
	if cost, err = bcrypt.Cost([]byte(hash)); err != nil {
		return 0, errors.New("malformed bcrypt hash")
	}
	if cost > maxCost {
		return 0, fmt.Errorf("bcrypt cost %d is above %d: each login would take seconds", cost, maxCost)
	}
	return cost, nil
}
