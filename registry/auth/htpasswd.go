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

// users are the entries of a file.
type users struct {
	hashes map[string][]byte
	// dummy is compared for a user that there is not, so that the time of an answer
	// does not tell who there is.
	dummy []byte
}

const (
	maxHtpasswd = 4 << 20 // bytes
	// maxCost is the highest cost of a hash. Each step doubles the time of a login,
	// and at this one it is seconds.
	maxCost  = 15
	hashSize = 60
)

// readUsers reads a file of users.
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

// parseUsers reads lines of USER:HASH; empty ones and comments are passed over. One
// that cannot be used makes the file unusable. Errors name lines and say nothing of
// what stands in them.
func parseUsers(data []byte) (users, error) {
	u := users{hashes: map[string][]byte{}}
	cost := bcrypt.MinCost
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; scanner.Scan(); n++ {
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
			err = errors.New("a user that there is already")
		}
		if err != nil {
			return users{}, fmt.Errorf("line %d: %w", n, err)
		}
		u.hashes[name] = []byte(hash)
		cost = max(cost, c)
	}
	u.dummy = fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat("A", 53))
	return u, scanner.Err()
}

// checkHash is the cost of a bcrypt hash. Half of one is none.
func checkHash(hash string) (cost int, err error) {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	version, _, _ := strings.Cut(strings.TrimPrefix(hash, "$"), "$")
	if version != "2a" && version != "2b" && version != "2y" {
		return 0, errors.New("not a bcrypt hash, as htpasswd -B makes them")
	}
	if len(hash) != hashSize || strings.Trim(hash[7:], alphabet) != "" {
		return 0, errors.New("not a whole bcrypt hash")
	}
	if cost, err = bcrypt.Cost([]byte(hash)); err != nil {
		return 0, errors.New("not a bcrypt hash that can be read")
	}
	if cost > maxCost {
		return 0, fmt.Errorf("a bcrypt cost of %d, more than %d, would take seconds a login", cost, maxCost)
	}
	return cost, nil
}
