package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// readKey returns the key in PEM text, PKCS#8: Ed25519, or ECDSA with P-256.
func readKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("the release key is not a PEM block PRIVATE KEY (openssl genpkey writes one)")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("release key: %w", err)
	}
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, fmt.Errorf("the release key is of type %T: use Ed25519, or ECDSA with P-256", key)
}

// sign returns the signature of data, the same for the same data: without randomness an ECDSA
// signature is that of RFC 6979.
func sign(key crypto.Signer, data []byte) ([]byte, error) {
	if _, is := key.(ed25519.PrivateKey); is {
		return key.Sign(nil, data, crypto.Hash(0))
	}
	sum := sha256.Sum256(data)
	return key.Sign(nil, sum[:], crypto.SHA256)
}
